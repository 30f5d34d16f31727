-- Reserve one attempt in every bucket, or none. KEYS: buckets. ARGV: for each bucket the free attempts and the longest delay in seconds.
-- Returns 0, or milliseconds to wait. An attempt counts before it is judged, so parallel ones cannot slip through together.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local wait = 0
for _, key in ipairs(KEYS) do
  wait = math.max(wait, tonumber(redis.call('HGET', key, 'next') or 0) - now)
end
if wait > 0 then
  return wait
end
for i, key in ipairs(KEYS) do
  local tries = redis.call('HINCRBY', key, 'tries', 1)
  local free, longest = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])
  local delay = 0
  if tries >= free then
    delay = math.min(2 ^ (tries - free + 1), longest) * 1000
  end
  redis.call('HSET', key, 'next', string.format('%.0f', now + delay))
  redis.call('EXPIRE', key, 21600)
end
return 0
