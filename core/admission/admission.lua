-- Admission of one API request: rate limit, revocation, and the cached response if there is one.
-- KEYS: rate limit, session tombstone, lowest valid epoch, completeness marker of tombstones, cache tag, cached response.
-- ARGV: interval in microseconds, burst, epoch (empty without a credential), "1" when the response may be cached.
-- Returns {allowed, remaining, microseconds until the next request passes or the bucket is full, credential status,
-- value of the cache tag, cached response}.
-- Credential status: 0 valid, 1 revoked, 2 Redis lost its tombstones and the database must be asked.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local interval, burst = tonumber(ARGV[1]), tonumber(ARGV[2])

-- GCRA: `full_at` is the time at which the bucket is full again.
local full_at = math.max(tonumber(redis.call('GET', KEYS[1]) or now), now)
local earliest = full_at + interval - interval * burst
if earliest > now then
  return {0, 0, earliest - now, 0, '', ''}
end
full_at = full_at + interval
redis.call('SET', KEYS[1], string.format('%.0f', full_at), 'PX', math.ceil((full_at - now) / 1000) + 1)
local remaining = math.floor((now - (full_at - interval * burst)) / interval)

local credential_status = 0
if ARGV[3] ~= '' then
  local tombstones = redis.call('MGET', KEYS[2], KEYS[3], KEYS[4])
  if tombstones[1] or (tombstones[2] and tonumber(ARGV[3]) < tonumber(tombstones[2])) then
    return {1, remaining, full_at - now, 1, '', ''}
  end
  if not tombstones[3] then
    credential_status = 2
  end
end

local tag_value, cached = '', ''
if ARGV[4] == '1' and credential_status == 0 then
  local stored = redis.call('MGET', KEYS[5], KEYS[6])
  tag_value = stored[1]
  if not tag_value then
    tag_value = string.format('%016.0f', now)
    redis.call('SET', KEYS[5], tag_value, 'EX', 86400)
  end
  if stored[2] and string.sub(stored[2], 1, 16) == tag_value then
    cached = stored[2]
  end
end
return {1, remaining, full_at - now, credential_status, tag_value, cached}
