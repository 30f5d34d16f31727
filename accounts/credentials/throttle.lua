-- Reserves one attempt in every bucket, or in none while one of them is delayed.
-- KEYS: the buckets. ARGV: for each bucket its free attempts and its longest delay in seconds.
-- Returns 0, or the milliseconds to wait.
-- An attempt is counted before it is verified, so that parallel attempts cannot all pass.
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
  local free_attempts, max_delay_seconds = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])
  local delay = 0
  if tries >= free_attempts then
    delay = math.min(2 ^ (tries - free_attempts + 1), max_delay_seconds) * 1000
  end
  redis.call('HSET', key, 'next', string.format('%.0f', now + delay))
  redis.call('EXPIRE', key, 21600)
end
return 0
