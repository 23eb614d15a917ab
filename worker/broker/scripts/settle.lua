-- Writes what became of a batch: outcomes, dead letters, and either the end of its claim or its retry.
-- KEYS: 5 outcomes, 6 dead letters.
-- ARGV: 3 slot, 4 epoch, 5 how many events are settled for good, 6 outcomes (packed, or empty),
--       7 ms for which no further slot is to be leased, 8 whether to switch the integration off (1 or 0),
--       9 what it says of the destination's health, 10 the finding's code, 11 how many failures open the
--       breaker, 12 and 13 the first and the longest interval between probes in ms, 14 its jitter (a factor),
--       15 the ms that the destination asked for,
--       16 how many dead letters (packed) follow; then either
--       'done' or, if the worker would stay for what comes next, 'stay', an order's lease in ms, number of urgent
--       entries, their ids, the ids of bulk entries, or
--       'retry', an order's lease in ms, ms until it is due, ms until the sweeper steps in, carried, attempts,
--       whether the batch is still under suspicion (1 or 0);
--       and last of all when the batch was claimed (ms).
-- Returns {'stale'} when the lease was lost (nothing was written), or {'settled', order, breaker}: the order
-- is {slot, epoch, whether it is slow} when more work waits and a slot was leased for it, or {slot, epoch, 0, 1, ids to
-- read both lanes behind} when the worker is to stay with this slot until something comes; the breaker 'opened', 'closed',
-- 'another reason' or ''.

local slot, key = ARGV[3], ARGV[2] .. ARGV[3]
local found = redis.call('HMGET', key, 'state', 'epoch', 'since', 'shared')
local since = ARGV[#ARGV]
table.remove(ARGV)
-- The claim is identified by its moment as well: a retry keeps its epoch, and a settle that was repeated because
-- its reply was lost must not end the next claim.
if found[1] ~= 'sending' or found[2] ~= ARGV[4] or found[3] ~= since then
  return {'stale'}
end

-- Only where the claim has met some that refer to others is each entry read, with whatever it holds.
local refers = number(found[4], 1) > 0

local function finish(lane, first, last)
  for place = first, last, 1000 do
    local upto = math.min(place + 999, last)
    redis.call('XACK', lane, GROUP, unpack(ARGV, place, upto))
    if refers then
      for entry = place, upto do
        delete_by_id(lane, ARGV[entry])
      end
    else
      redis.call('XDEL', lane, unpack(ARGV, place, upto))
    end
  end
end

redis.call('HDEL', KEYS[2], 'claimed_at')
if ARGV[6] ~= '' then
  append(KEYS[5], 'outcomes', ARGV[6])
end
local rest = 16 + tonumber(ARGV[16])
for place = 17, rest do
  append(KEYS[6], 'dead', ARGV[place])
end
add('backlog_events', 0 - tonumber(ARGV[5]))
redis.call('HSET', KEYS[2], 'last_send_ms', now_ms() - number(found[3], now_ms()))
if ARGV[7] ~= '0' then
  redis.call('HSET', KEYS[2], 'rests_until', now_ms() + tonumber(ARGV[7]))
end
-- The ledger learns of it by the outcome, and keeps it so.
if ARGV[8] == '1' then
  redis.call('HSET', KEYS[2], 'held', '1')
end

if ARGV[rest + 1] == 'retry' then
  local now = now_ms()
  redis.call('HSET', key, 'state', 'waiting', 'due', now + tonumber(ARGV[rest + 3]),
    'carried', ARGV[rest + 5], 'attempts', ARGV[rest + 6])
  -- What was carried has counted them.
  redis.call('HDEL', key, 'losses', 'doubtful')
  if ARGV[rest + 7] == '0' then
    redis.call('HDEL', key, 'suspects', 'alone')
  end
  redis.call('ZADD', KEYS[1], now + tonumber(ARGV[rest + 4]), member(slot))
else
  local bulk_from = rest + 4 + tonumber(ARGV[rest + 3])
  finish(KEYS[3], rest + 4, bulk_from - 1)
  finish(KEYS[4], bulk_from, #ARGV)
  recount()
end
local breaker = note(slot, ARGV[9], ARGV[10], {
  threshold = tonumber(ARGV[11]), first = tonumber(ARGV[12]), longest = tonumber(ARGV[13]),
  jitter = tonumber(ARGV[14]), asked = tonumber(ARGV[15]),
})
if ARGV[rest + 1] ~= 'retry' then
  free(slot)
end
local further, standing = order_free_slot(tonumber(ARGV[rest + 2]), true)
if ARGV[rest + 1] == 'stay' and not further then
  further = order_to_stay(tonumber(slot), standing)
end
return {'settled', further, breaker}
