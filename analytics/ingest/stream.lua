-- Appends one event to its stream and assigns its visit, unless the stream is too long or the event was sent
-- before.
-- One script, so that no other command runs between these steps.
-- KEYS: stream, event id, visit of the visitor, state of the stream, epoch of earlier versions.
-- ARGV: 1 event id or '', 2 '1' when the event has a visitor, 3 id for a new visit, 4 the event as JSON,
-- 5 '1' for an engagement, 6 stream length from which engagements are dropped, 7 stream length from which all
-- events are dropped, 8 new epoch, 9 when it happened, in milliseconds since 1970, or '' for now.
-- Returns outcome, epoch, number of the event in this epoch, number of the last event that was written to PostgreSQL.
-- Outcomes: ok, full, shed, duplicate, or alone (an engagement without a visit); the others are '' or 0 then.
local function refuse(outcome) return {outcome, '', 0, 0} end

local size = redis.call('XLEN', KEYS[1])
if size >= tonumber(ARGV[7]) then return refuse('full') end
if ARGV[5] == '1' and size >= tonumber(ARGV[6]) then return refuse('shed') end
if ARGV[1] ~= '' and not redis.call('SET', KEYS[2], '1', 'NX', 'EX', 3600) then return refuse('duplicate') end
local visit = ''
if ARGV[2] == '1' then
  local time = redis.call('TIME')
  local at = tonumber(ARGV[9]) or time[1] * 1000 + math.floor(time[2] / 1000)
  local stored = redis.call('GET', KEYS[3]) or ''
  local last_at
  visit, last_at = string.match(stored, '^(%d+):(%d+)$')
  if not visit or math.abs(at - tonumber(last_at)) > 1800000 then
    if ARGV[5] == '1' then return refuse('alone') end
    visit = ARGV[3]
  end
  redis.call('SET', KEYS[3], visit .. ':' .. string.format('%.0f', at), 'EX', 1800)
end

-- The epoch tells one life of the stream from the next. It is in every entry, so that a lost state is restored.
local state = redis.call('HMGET', KEYS[4], 'epoch', 'written')
local epoch = state[1]
if size == 0 and redis.call('EXISTS', KEYS[1]) == 0 then epoch = false end
if not epoch then
  local sequence = '0'
  local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
  if last then
    local fields = {}
    for index = 1, #last[2], 2 do fields[last[2][index]] = last[2][index + 1] end
    epoch = fields['g'] or redis.call('GET', KEYS[5])
    sequence = fields['s'] or '0'
  end
  epoch = epoch or ARGV[8]
  redis.call('DEL', KEYS[4])
  redis.call('HSET', KEYS[4], 'epoch', epoch, 'sequence', sequence)
  state[2] = '0'
end
local sequence = redis.call('HINCRBY', KEYS[4], 'sequence', 1)
redis.call('XADD', KEYS[1], '*', 'e', ARGV[4], 'v', visit, 'g', epoch, 's', sequence)
return {'ok', epoch, sequence, tonumber(state[2] or '0')}
