-- Appends one event to its stream and assigns its visit, unless the stream is too long or the event was sent
-- before.
-- One script, so that no other command runs between these steps.
-- KEYS: stream, event id, visit of the visitor, epoch.
-- ARGV: 1 event id or '', 2 '1' when the event has a visitor, 3 id for a new visit, 4 the event as JSON,
-- 5 '1' for an engagement, 6 stream length from which engagements are dropped, 7 stream length from which all
-- events are dropped, 8 new epoch, 9 when it happened, in milliseconds since 1970, or '' for now.
-- Returns ok, full, shed, duplicate, or alone (an engagement without a visit).
local size = redis.call('XLEN', KEYS[1])
if size >= tonumber(ARGV[7]) then return 'full' end
if ARGV[5] == '1' and size >= tonumber(ARGV[6]) then return 'shed' end
if ARGV[1] ~= '' and not redis.call('SET', KEYS[2], '1', 'NX', 'EX', 3600) then return 'duplicate' end
local visit = ''
if ARGV[2] == '1' then
  local time = redis.call('TIME')
  local at = tonumber(ARGV[9]) or time[1] * 1000 + math.floor(time[2] / 1000)
  local stored = redis.call('GET', KEYS[3]) or ''
  local last_at
  visit, last_at = string.match(stored, '^(%d+):(%d+)$')
  if not visit or math.abs(at - tonumber(last_at)) > 1800000 then
    if ARGV[5] == '1' then return 'alone' end
    visit = ARGV[3]
  end
  redis.call('SET', KEYS[3], visit .. ':' .. string.format('%.0f', at), 'EX', 1800)
end
redis.call('SET', KEYS[4], ARGV[8], 'NX')
redis.call('XADD', KEYS[1], '*', 'e', ARGV[4], 'v', visit)
return 'ok'
