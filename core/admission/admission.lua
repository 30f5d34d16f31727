-- Admission of one API request: rate limits, revocation, and the cached response if there is one.
-- KEYS: 1 rate limit of the owner or network, 2 session tombstone, 3 lowest valid epoch, 4 completeness marker of
-- tombstones, 5 cache tag, 6 cached response, 7 rate limit of the API key alone.
-- ARGV: 1 burst of the owner or network per minute, 2 epoch (empty without a credential), 3 "1" when the response may
-- be cached, 4 burst of the API key per minute (empty without a limit of its own).
-- Returns {allowed, remaining, microseconds until the next request passes or the bucket is full, limit, credential
-- status, value of the cache tag, cached response}. Of two rate limits, the one that leaves fewer requests.
-- Credential status: 0 valid, 1 revoked, 2 Redis lost its tombstones and the database must be asked.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

-- GCRA: `full_at` is the time at which the bucket is full again.
local function check(key, burst)
  local interval = math.floor(60000000 / burst)
  local full_at = math.max(tonumber(redis.call('GET', key) or now), now) + interval
  local earliest = full_at - interval * burst
  local remaining = math.floor((now - earliest) / interval)
  return {key = key, burst = burst, full_at = full_at, earliest = earliest, remaining = remaining}
end

local buckets = {check(KEYS[1], tonumber(ARGV[1]))}
if ARGV[4] ~= '' then buckets[2] = check(KEYS[7], tonumber(ARGV[4])) end
local tightest = buckets[1]
for _, bucket in ipairs(buckets) do
  if bucket.earliest > now then return {0, 0, bucket.earliest - now, bucket.burst, 0, '', ''} end
  if bucket.remaining < tightest.remaining then tightest = bucket end
end
for _, bucket in ipairs(buckets) do
  local expiry = math.ceil((bucket.full_at - now) / 1000) + 1
  redis.call('SET', bucket.key, string.format('%.0f', bucket.full_at), 'PX', expiry)
end
local remaining, wait, limit = tightest.remaining, tightest.full_at - now, tightest.burst

local credential_status = 0
if ARGV[2] ~= '' then
  local tombstones = redis.call('MGET', KEYS[2], KEYS[3], KEYS[4])
  if tombstones[1] or (tombstones[2] and tonumber(ARGV[2]) < tonumber(tombstones[2])) then
    return {1, remaining, wait, limit, 1, '', ''}
  end
  if not tombstones[3] then
    credential_status = 2
  end
end

local tag_value, cached = '', ''
if ARGV[3] == '1' and credential_status == 0 then
  local stored = redis.call('MGET', KEYS[5], KEYS[6])
  tag_value = stored[1]
  if not tag_value then
    tag_value = string.format('%016.0f', now)
    redis.call('SET', KEYS[5], tag_value, 'EX', 60)
  end
  if stored[2] and string.sub(stored[2], 1, 16) == tag_value then
    cached = stored[2]
  end
end
return {1, remaining, wait, limit, credential_status, tag_value, cached}
