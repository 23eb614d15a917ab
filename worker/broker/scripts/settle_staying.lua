-- Stands in front of settle.lua, and does the same where a worker that would stay has delivered all that there is, quickly
-- and by the first slot, and nothing else is to be noted: see claim_staying.lua.

-- What is more came under load, where it is likely that more waits.
local FEW_EVENTS = 100

local function is_plain()
  return ARGV[17] == 'stay' and ARGV[3] == '1' and tonumber(ARGV[5]) < FEW_EVENTS and ARGV[6] ~= '' and ARGV[7] == '0'
    and ARGV[8] == '0' and ARGV[9] == 'well' and ARGV[16] == '0'
end

local function finish_all(lane, first, last)
  if first <= last then
    redis.call('XACK', lane, GROUP, unpack(ARGV, first, last))
    redis.call('XDEL', lane, unpack(ARGV, first, last))
  end
end

local function settle_plainly()
  local bulk_from, last = 20 + tonumber(ARGV[19]), #ARGV - 1
  if redis.pcall('XLEN', KEYS[3]) ~= bulk_from - 20 or redis.pcall('XLEN', KEYS[4]) ~= last - bulk_from + 1 then
    return
  end
  local key, now = ARGV[2] .. ARGV[3], now_ms()
  local slot = redis.call('HMGET', key, 'state', 'epoch', 'since', 'shared')
  if slot[1] ~= 'sending' or slot[2] ~= ARGV[4] or slot[3] ~= ARGV[#ARGV] or slot[4] ~= '0' then
    return
  end
  local state = redis.call('HMGET', KEYS[2], 'backlog_events', 'rests_until', 'ordered_at', 'held', 'breaker', 'probe',
    'failures', 'recount')
  if not are_whole(slot[2], slot[3], state[1]) or now - slot[3] >= SOON_MS or rests(state[2]) or on_its_way(state[3])
    or state[4] == '1' or state[5] or state[6] or state[7] or state[8] then
    return
  end
  -- Needs no memory: after it a script may go on even if Redis is full.
  redis.call('HDEL', KEYS[2], 'claimed_at')
  append(KEYS[5], 'outcomes', ARGV[6])
  finish_all(KEYS[3], 20, bulk_from - 1)
  finish_all(KEYS[4], bulk_from, last)
  redis.call('HDEL', key, 'since', 'chunks', 'carried', 'attempts', 'losses', 'due', 'reissues', 'suspects',
    'alone', 'holder', 'stretched', 'doubtful', 'shared')
  redis.call('HSET', key, 'state', 'ordered', 'epoch', slot[2] + 1)
  redis.call('HSET', KEYS[2], 'backlog_events', state[1] - ARGV[5], 'last_send_ms', now - slot[3], 'ordered_at', now)
  redis.call('ZADD', KEYS[1], now + STAY_LEASE_MS, ARGV[1] .. '/1')
  return {'settled', {1, slot[2] + 1, 0, 1, '0-0', '0-0'}, ''}
end

local settled = is_plain() and settle_plainly()
if settled then
  return settled
end

