-- Removes all that Redis holds of an integration that was deleted, unless something still refers to it; then it lets
-- what waits go at once.
-- KEYS: 1 leases, 2 state, 3 urgent, 4 bulk, 5 integrations, 6 their version, 7 the notes of what was deleted,
--       8 and 9 hashes of health by integration, 10 the list of changes (`changed.lua` stands before this).
-- ARGV: 1 integration, 2 prefix of its slots, 3 the highest slot that was seen, 4 its revision in the ledger,
--       5 another version, 6 whether it may go (1) or events of it are still to come back (0), 7 how many changes
--       are kept.
-- Returns 'living' (it has a document that says nothing of a deletion), 'busy' or 'removed'.
--
-- One script: what appends, claims or settles does so before it or behind it, never amid.

local LEAST_SLOTS, MOST_SLOTS = 4, 1000

-- Needs no memory: after it a script may go on even if Redis is full.
redis.call('DEL', 'siem:none')

local document = redis.call('HGET', KEYS[5], ARGV[1])
local kind
if document then
  local ok, found = pcall(cjson.decode, document)
  if not ok or type(found) ~= 'table' or found.deleted ~= true then
    return 'living'
  end
  kind = type(found.destination) == 'table' and found.destination.type or ''
end

-- What damage has made of another type is passed over, and removed with the rest.
local function ask(...)
  local reply = redis.pcall(...)
  if type(reply) == 'table' and reply.err then
    return false
  end
  return reply
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local configured = tonumber(ask('HGET', KEYS[2], 'slots') or '') or LEAST_SLOTS
local highest = math.min(MOST_SLOTS, math.max(LEAST_SLOTS, configured, tonumber(ARGV[3])))
local busy = ARGV[6] ~= '1' or (ask('XLEN', KEYS[3]) or 0) + (ask('XLEN', KEYS[4]) or 0) > 0
local slots, members = {}, {}
for slot = 1, highest do
  local key, member = ARGV[2] .. slot, ARGV[1] .. '/' .. slot
  slots[slot], members[slot] = key, member
  local state = ask('HGET', key, 'state')
  busy = busy or (state and true or false)
  if state == 'waiting' then
    redis.call('HSET', key, 'due', now)
    redis.call('ZADD', KEYS[1], now, member)
  end
end

if busy then
  if document then
    redis.call('HDEL', KEYS[2], 'breaker', 'opened_at', 'opened_by', 'probe_at', 'probe_wait', 'probe', 'rests_until')
    if redis.call('HGET', KEYS[2], 'held') == '1' then
      redis.call('HSET', KEYS[2], 'held', 0)
    end
  end
  return 'busy'
end

local revision = tonumber(ask('HGET', KEYS[2], 'revision') or '') or tonumber(ARGV[4])
redis.call('UNLINK', KEYS[2], KEYS[3], KEYS[4], unpack(slots))
redis.call('ZREM', KEYS[1], unpack(members))
redis.call('HDEL', KEYS[8], ARGV[1])
redis.call('HDEL', KEYS[9], ARGV[1])
if document then
  redis.call('HSET', KEYS[7], ARGV[1], cjson.encode({ type = kind, revision = revision, at_ms = now }))
  redis.call('HDEL', KEYS[5], ARGV[1])
  note_change(KEYS[6], KEYS[10], { ARGV[5], ARGV[7], ARGV[1] })
end
return 'removed'
