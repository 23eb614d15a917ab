-- Claims a batch for the bearer of a work order, or reads again what its slot holds already.
-- KEYS: 5 integrations.  ARGV: 3 slot, 4 epoch, 5 lease in ms, 6 an order's lease in ms, 7 who claims, 8 'stay' if
-- the slot is to be left as it is while nothing waits.
-- Returns {word} where there is nothing to do: 'stale', 'early', 'held', 'empty', 'nothing' (with the ids to read
-- both lanes behind); else
-- {'batch', now, configuration, carried, attempts, how many holders may have sent it, urgent entries, bulk
--  entries, further order, whether it probes a destination whose breaker is open, how many suspects to send
--  together, or 0, and how often the first of them has been lost alone}.

local slot, key = ARGV[3], ARGV[2] .. ARGV[3]
local lease_ms, order_lease_ms = tonumber(ARGV[5]), tonumber(ARGV[6])
local now = now_ms()

-- Clocks of workers may run a little ahead of Redis's.
local EARLY_MS = 1000
-- One claim in this many serves the bulk lane first, so that it never starves.
local BULK_TURN = 8
local MOST_AT_A_LOOK = 16

-- Chunks of a lane that no slot had claimed when this began, each lane counted once.
local counted = {}

local function waiting(lane)
  counted[lane] = counted[lane] or unclaimed(lane)
  return counted[lane]
end

local function read(lane, count)
  local reply = redis.call('XREADGROUP', 'GROUP', GROUP, slot, 'COUNT', count, 'STREAMS', lane, '>')
  return reply and reply[1][2] or {}
end

-- How many of the next chunks fit into the room that is left.
local function fitting(lane, look, room)
  local count, events, bytes = 0, room.events, room.bytes
  for _, entry in ipairs(redis.call('XRANGE', lane, '(' .. last_delivered(lane), '+', 'COUNT', look)) do
    local n, b = size(entry)
    if n > events or b > bytes then
      return count
    end
    count, events, bytes = count + 1, events - n, bytes - b
  end
  return count
end

local function take(lane, room)
  local taken, look, left = {}, 1, waiting(lane)
  while left > 0 and room.events > 0 and room.bytes > 0 do
    -- The first chunk is taken whatever its size: the sender splits what is too large for one request.
    local count = room.untouched and 1 or fitting(lane, look, room)
    local entries = count > 0 and read(lane, count) or {}
    for _, entry in ipairs(entries) do
      local n, b = size(entry)
      room.events, room.bytes, room.untouched = room.events - n, room.bytes - b, false
      room.taken, room.taken_bytes = room.taken + n, room.taken_bytes + b
      taken[#taken + 1] = entry
    end
    if #entries < look then
      break
    end
    left = left - #entries
    look = math.min(look * 2, left, MOST_AT_A_LOOK)
  end
  return taken
end

-- Of what the slot says of its batch; what damage made no count is one that nothing is known of.
local function whole(value)
  return math.max(0, math.floor(number(value, 0)))
end

local function held_by_slot(lane)
  if redis.call('XLEN', lane) == 0 or pending_in(lane) == 0 then
    return {}
  end
  return redis.call('XREADGROUP', 'GROUP', GROUP, slot, 'STREAMS', lane, '0')[1][2]
end

local function limit(value, otherwise)
  local found = number(value, otherwise)
  return found >= 1 and found or otherwise
end

local function claim_new(most_events, most_bytes)
  local room = {
    events = limit(most_events, 500), bytes = limit(most_bytes, 900000), untouched = true, taken = 0,
    taken_bytes = 0,
  }
  local urgent, bulk
  if add('claims', 1) % BULK_TURN == 0 then
    bulk = take(KEYS[4], room)
    urgent = take(KEYS[3], room)
  else
    urgent = take(KEYS[3], room)
    bulk = take(KEYS[4], room)
  end
  add('unclaimed_events', 0 - room.taken)
  add('unclaimed_bytes', 0 - room.taken_bytes)
  return urgent, bulk
end

local found = redis.call('HMGET', key, 'state', 'epoch', 'due', 'chunks', 'carried', 'attempts', 'losses',
  'suspects', 'alone', 'doubtful')
local state, epoch, chunks = found[1], found[2], found[4] and number(found[4], 1) or 0

if not state or state == 'sending' or epoch ~= ARGV[4] then
  return {'stale'}
end
if state == 'waiting' and number(found[3], 0) > now + EARLY_MS then
  return {'early'}
end
if ARGV[8] and waiting(KEYS[3]) + waiting(KEYS[4]) <= 0 then
  return {'nothing', behind(KEYS[3]), behind(KEYS[4])}
end
redis.call('HDEL', KEYS[2], 'ordered_at')
local standing = redis.call('HMGET', KEYS[2], 'held', 'breaker', 'probe', 'rests_until', 'batch_events',
  'batch_bytes')
local open = standing[2] == 'open'
local probing = open and standing[3] == slot
if standing[1] == '1' or (open and not probing) or (rests(standing[4]) and chunks == 0) then
  if chunks == 0 then
    free(slot)
  else
    redis.call('HSET', key, 'state', 'waiting', 'due', now + order_lease_ms)
    redis.call('ZADD', KEYS[1], now + order_lease_ms, member(slot))
  end
  return {'held'}
end

local urgent, bulk, doubtful
if chunks > 0 then
  urgent, bulk, doubtful = held_by_slot(KEYS[3]), held_by_slot(KEYS[4]), whole(found[10])
else
  urgent, bulk = claim_new(standing[5], standing[6])
  -- Release 0.1.0 leaves the number of an earlier batch when it frees a slot.
  doubtful = 0
  redis.call('HDEL', key, 'doubtful', 'reissues', 'stretched')
end
if #urgent + #bulk == 0 then
  free(slot)
  recount()
  return {'empty'}
end
local shared = resolve(urgent) + resolve(bulk)
redis.call('HSET', key, 'state', 'sending', 'since', now, 'chunks', #urgent + #bulk, 'shared', shared,
  'holder', string.format('%d %s', now, ARGV[7]))
if chunks > 0 then
  redis.call('HDEL', key, 'reissues', 'stretched')
end
redis.call('HSET', KEYS[2], 'claimed_at', now)
redis.call('ZADD', KEYS[1], now + lease_ms, member(slot))
return {
  'batch', now, redis.call('HGET', KEYS[5], ARGV[1]) or '', found[5] or '', whole(found[6]),
  whole(found[7]) + doubtful, urgent, bulk, (order_free_slot(order_lease_ms)), probing and 1 or 0,
  whole(found[8]), whole(found[9]),
}
