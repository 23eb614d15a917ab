-- Takes the oldest events out of a backlog that passed its cap; a recorder keeps them in the ledger.
-- KEYS: 5 parked.  ARGV: 3 events and 4 bytes that may stay, 5 how many chunks at most, 6 bytes of memory that may
-- stay, 7 how many of these an event takes beside its bytes, 8 how many each of its bytes takes, 9 of which lanes
-- ('bulk', or 'any').
-- Returns how many events were taken.
--
-- Only what no slot has claimed. The bulk lane goes first, so that what is urgent need not queue twice.
-- Counts that say more than nothing although no slot has anything left to claim are damaged, and are set right:
-- else other backlogs would be parked in place of this one.

local most_events, most_bytes, chunks = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local most_memory, an_event, a_byte = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])

local function is_over()
  local found = redis.call('HMGET', KEYS[2], 'unclaimed_events', 'unclaimed_bytes')
  local events, bytes = number(found[1], 0), number(found[2], 0)
  return events > most_events or bytes > most_bytes or events * an_event + bytes * a_byte > most_memory
end

local function oldest(lane)
  if unclaimed(lane) == 0 then
    return nil
  end
  return redis.call('XRANGE', lane, '(' .. last_delivered(lane), '+', 'COUNT', 1)[1]
end

local function move(lane, name, entry)
  local events, bytes = size(entry)
  make_way(KEYS[5])
  redis.call('XADD', KEYS[5], '*', 'integration', ARGV[1], 'lane', name, 'entry', entry[1],
    'n', events, 'bytes', bytes, 'events', packed_events(entry) or '',
    'crc', entry[2][8] or '')
  delete(lane, entry)
  add('unclaimed_events', 0 - events)
  add('unclaimed_bytes', 0 - bytes)
  add('backlog_events', 0 - events)
  return events
end

local taken = 0
while chunks > 0 and is_over() do
  local lane, name = KEYS[4], 'bulk'
  local entry = oldest(lane)
  if not entry and ARGV[9] ~= 'bulk' then
    lane, name = KEYS[3], 'urgent'
    entry = oldest(lane)
  end
  if not entry then
    if not work_waits() then
      redis.call('HSET', KEYS[2], 'unclaimed_events', 0, 'unclaimed_bytes', 0)
    end
    break
  end
  taken = taken + move(lane, name, entry)
  chunks = chunks - 1
end
return taken
