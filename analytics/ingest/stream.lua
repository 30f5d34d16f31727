-- Take one event: refuse what is full or was sent before, find or make the visit, append. One call, so nothing comes between.
-- KEYS: stream, event id, visit, epoch. ARGV: event id or '', '1' with a visitor, new visit id, event, '1' for an engagement,
-- entries from which engagements are shed, entries from which everything is refused, new epoch, milliseconds of when it happened or ''.
local size = redis.call('XLEN', KEYS[1])
if size >= tonumber(ARGV[7]) then return 'full' end
if ARGV[5] == '1' and size >= tonumber(ARGV[6]) then return 'shed' end
if ARGV[1] ~= '' and not redis.call('SET', KEYS[2], '1', 'NX', 'EX', 3600) then return 'duplicate' end
local visit = ''
if ARGV[2] == '1' then
  local time = redis.call('TIME')
  local at = tonumber(ARGV[9]) or time[1] * 1000 + math.floor(time[2] / 1000)
  local known = redis.call('GET', KEYS[3]) or ''
  local last
  visit, last = string.match(known, '^(%d+):(%d+)$')
  if not visit or math.abs(at - tonumber(last)) > 1800000 then
    if ARGV[5] == '1' then return 'alone' end
    visit = ARGV[3]
  end
  redis.call('SET', KEYS[3], visit .. ':' .. string.format('%.0f', at), 'EX', 1800)
end
redis.call('SET', KEYS[4], ARGV[8], 'NX')
redis.call('XADD', KEYS[1], '*', 'e', ARGV[4], 'v', visit)
return 'ok'
