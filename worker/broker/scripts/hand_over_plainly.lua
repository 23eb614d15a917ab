-- Hands over entries of which nothing is written but chunks for some lanes, and says for which of these no worker comes.
-- While events trickle in, nearly every hand-over is such a one, and a worker is there.
-- KEYS: 1 ingress, 2 counters; then of each chunk its lane and the state of its integration, no two of one integration.
-- ARGV: 1 the ingress's group, 2 how many entries, their ids; then for each chunk how many words its entry has, and
-- these: n, how many events, bytes, how many bytes, and so on.
-- Returns how many entries are left in the ingress, the first error if there was one, and the numbers of the chunks that
-- no worker comes for; nothing, and has done nothing, if Redis is full or a count is damaged.

local entries = tonumber(ARGV[2])

-- What is known of the integrations, if all of their counts may be added to.
local function known_states()
  local states = {}
  for place = 4, #KEYS, 2 do
    local state = redis.pcall('HMGET', KEYS[place], 'backlog_events', 'unclaimed_events', 'unclaimed_bytes', 'breaker',
      'ordered_at', 'claimed_at', 'last_send_ms', 'batch_events')
    if state.err or not are_whole(state[1], state[2], state[3]) then
      return
    end
    states[#states + 1] = state
  end
  return states
end

-- The id of a new entry; or the error of a lane that takes none, and the events are lost with it.
local function add_entry(lane, first, last)
  local id = redis.pcall('XADD', lane, '*', unpack(ARGV, first, last))
  if type(id) ~= 'table' then
    return id
  end
  make_way(lane)
  return redis.pcall('XADD', lane, '*', unpack(ARGV, first, last))
end

local reply = {0, false}

-- What a command was answered; an error is kept, for what stands behind it is to be done all the same.
local function noted(answer)
  if type(answer) == 'table' then
    reply[2] = reply[2] or answer
    return
  end
  return answer
end

local function add_chunks(states)
  local place = 3 + entries
  for number, state in ipairs(states) do
    local last = place + tonumber(ARGV[place])
    local id = noted(add_entry(KEYS[2 * number + 1], place + 1, last))
    -- It has the time, which would be asked for otherwise.
    began_ms = id and tonumber(string.match(id, '^%d+'))
    local unclaimed = state[2] + ARGV[place + 2]
    redis.call('HSET', KEYS[2 * number + 2], 'backlog_events', state[1] + ARGV[place + 2], 'unclaimed_events', unclaimed,
      'unclaimed_bytes', state[3] + ARGV[place + 4])
    if not has_taker(state[4], state[5], state[6], state[7], unclaimed, state[8]) then
      reply[#reply + 1] = number
    end
    place = last + 1
  end
end

local function hand_over()
  local states = known_states()
  -- After the first write that is not refused a script may go on even if Redis is full.
  if not states or type(redis.pcall('HINCRBY', KEYS[2], 'published', entries)) == 'table' then
    return false
  end
  add_chunks(states)
  noted(redis.pcall('XACK', KEYS[1], ARGV[1], unpack(ARGV, 3, 2 + entries)))
  noted(redis.pcall('XDEL', KEYS[1], unpack(ARGV, 3, 2 + entries)))
  reply[1] = noted(redis.pcall('XLEN', KEYS[1])) or 0
  return reply
end

return hand_over()
