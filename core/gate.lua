-- One call for each API request: rate limit, revocation, and perhaps the answer itself.
-- KEYS: limit, session tombstone, lowest valid epoch, completeness marker, stamp, body. ARGV: interval in us, burst, epoch, wants body.
-- Returns {allowed, remaining, microseconds until the next or until full, verdict, stamp, body}.
-- verdict: 0 valid, 1 revoked, 2 Redis lost its tombstones and the database must be asked.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local interval, burst = tonumber(ARGV[1]), tonumber(ARGV[2])

-- GCRA: `full` is when the bucket will be full again.
local full = math.max(tonumber(redis.call('GET', KEYS[1]) or now), now)
local earliest = full + interval - interval * burst
if earliest > now then
  return {0, 0, earliest - now, 0, '', ''}
end
full = full + interval
redis.call('SET', KEYS[1], string.format('%.0f', full), 'PX', math.ceil((full - now) / 1000) + 1)
local remaining = math.floor((now - (full - interval * burst)) / interval)

local verdict = 0
if ARGV[3] ~= '' then
  local found = redis.call('MGET', KEYS[2], KEYS[3], KEYS[4])
  if found[1] or (found[2] and tonumber(ARGV[3]) < tonumber(found[2])) then
    return {1, remaining, full - now, 1, '', ''}
  end
  if not found[3] then
    verdict = 2
  end
end

local stamp, body = '', ''
if ARGV[4] == '1' and verdict == 0 then
  local found = redis.call('MGET', KEYS[5], KEYS[6])
  stamp = found[1]
  if not stamp then
    stamp = string.format('%016.0f', now)
    redis.call('SET', KEYS[5], stamp, 'EX', 86400)
  end
  if found[2] and string.sub(found[2], 1, 16) == stamp then
    body = found[2]
  end
end
return {1, remaining, full - now, verdict, stamp, body}
