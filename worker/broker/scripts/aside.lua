-- Takes chunks that cannot be read out of a claim, and puts dead letters in their place; what can be read stays
-- claimed.
-- KEYS: 5 outcomes, 6 dead letters, 7 counters.
-- ARGV: 3 slot, 4 epoch, 5 when the batch was claimed (ms), 6 how many events became dead letters, 7 outcomes
--       (packed, or empty), 8 how often each event that stays was carried (or empty), 9 how many chunks stay,
--       10 an order's lease in ms, 11 how many dead letters (packed) follow; then the number of urgent entries,
--       their ids, the ids of bulk entries.
-- Returns 1, or 0 when the lease was lost: then nothing was done. If nothing stays, the order is good for
-- another claim.

local slot, key = ARGV[3], ARGV[2] .. ARGV[3]
local found = redis.call('HMGET', key, 'state', 'epoch', 'since')
if found[1] ~= 'sending' or found[2] ~= ARGV[4] or found[3] ~= ARGV[5] then
  return 0
end

local function finish(lane, first, last)
  for place = first, last do
    redis.call('XACK', lane, GROUP, ARGV[place])
    delete_by_id(lane, ARGV[place])
  end
end

if ARGV[7] ~= '' then
  make_way(KEYS[5])
  redis.call('XADD', KEYS[5], '*', 'outcomes', ARGV[7])
end
local rest = 11 + tonumber(ARGV[11])
for place = 12, rest do
  make_way(KEYS[6])
  redis.call('XADD', KEYS[6], '*', 'dead', ARGV[place])
end
local bulk_from = rest + 2 + tonumber(ARGV[rest + 1])
finish(KEYS[3], rest + 2, bulk_from - 1)
finish(KEYS[4], bulk_from, #ARGV)
add('backlog_events', 0 - tonumber(ARGV[6]))
redis.pcall('HINCRBY', KEYS[7], 'unreadable', ARGV[6])
-- It is not known how many events a damaged chunk was counted for.
redis.call('HSET', KEYS[2], 'recount', 1)
recount()

if ARGV[9] ~= '0' then
  redis.call('HSET', key, 'chunks', ARGV[9])
  if ARGV[8] == '' then
    redis.call('HDEL', key, 'carried')
  else
    redis.call('HSET', key, 'carried', ARGV[8])
  end
  return 1
end
redis.call('HDEL', KEYS[2], 'claimed_at')
redis.call('HDEL', key, 'since', 'chunks', 'carried', 'attempts', 'losses', 'due', 'suspects', 'alone',
  'doubtful', 'shared')
redis.call('HSET', key, 'state', 'ordered')
redis.call('ZADD', KEYS[1], now_ms() + tonumber(ARGV[10]), member(slot))
return 1
