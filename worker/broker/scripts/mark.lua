-- Writes down in Redis what stands in it: the next mark of its epoch. Needs ingress_events.lua.
-- KEYS: 1 epoch, 2 integrations, 3 events, 4 outcomes, 5 dead letters, 6 parked, 7 leases, 8 counters,
--       9 list of the streams to which the ingress was moved aside.
-- ARGV: 1 the epoch and 2 the number of the mark that was found here, 3 prefix of an integration's state,
--       4 prefix of its backlog, 5 after how many ms a mark is due although nothing has changed; then the
--       integrations whose backlog is known to have vanished: what is left of its count is removed; the group
--       of the ingress stands before these.
-- Returns {} when Redis holds another mark by now, else {number, ms, figures (JSON), backlogs that vanished (JSON)}.

-- A full Redis must be marked, too: this needs no memory, and lets the rest be written.
redis.call('DEL', 'siem:none')

local found = redis.call('HMGET', KEYS[1], 'id', 'number', 'at', 'figures')
if found[1] ~= ARGV[1] or (found[2] or '0') ~= ARGV[2] then
  return {}
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- In one order, so that the same figures are the same text.
local function object(names, values)
  local parts = {}
  for place, name in ipairs(names) do
    local value = values[place]
    local text = type(value) == 'number' and string.format('%.0f', value) or cjson.encode(value)
    parts[place] = cjson.encode(name) .. ':' .. text
  end
  return '{' .. table.concat(parts, ',') .. '}'
end

local names = {'events', 'outcomes', 'dead_letters', 'parked'}
local lengths, first_ids, last_ids, added = {}, {}, {}, {}
local is_counted = false
for place = 1, 4 do
  lengths[place], first_ids[place], last_ids[place], added[place] = 0, '0-0', '0-0', 0
  local info = redis.pcall('XINFO', 'STREAM', KEYS[2 + place])
  if not info.err then
    for field = 1, #info, 2 do
      local value = info[field + 1]
      if info[field] == 'length' then
        lengths[place] = value
      elseif info[field] == 'last-generated-id' then
        last_ids[place] = value
      elseif info[field] == 'entries-added' then
        added[place] = value
        is_counted = is_counted or place == 1
      elseif info[field] == 'first-entry' and value then
        first_ids[place] = value[1]
      end
    end
  end
end

-- What damage has made of another type is passed over: a mark must be made all the same.
local function ask(...)
  local reply = redis.pcall(...)
  if type(reply) == 'table' and reply.err then
    return false
  end
  return reply
end

-- Whether nothing is left of a backlog in its lanes.
local function is_empty(id)
  return ask('XLEN', ARGV[4] .. id .. ':urgent') == 0 and ask('XLEN', ARGV[4] .. id .. ':bulk') == 0
end

-- Whether a worker may still have events of the integration that stand in no lane any more.
local function is_leased(id)
  for slot = 0, tonumber(ask('HGET', ARGV[3] .. id, 'slots') or '') or 64 do
    if ask('ZSCORE', KEYS[7], id .. '/' .. slot) then
      return true
    end
  end
  return false
end

local reported = {}
for place = 7, #ARGV do
  reported[ARGV[place]] = true
end
local function counter(name)
  return tonumber(ask('HGET', KEYS[8], name) or '') or 0
end

local published = counter('published')
-- What waits in the ingress: in events, of which an entry may hold several.
local MOST, ENOUGH = 10, 131072
local waiting = {events_of(KEYS[3], lengths[1], MOST, ENOUGH), unpack(lengths, 2)}
for _, aside in ipairs(ask('LRANGE', KEYS[9], 0, -1) or {}) do
  local length = ask('XLEN', aside) or 0
  lengths[1] = lengths[1] + length
  waiting[1] = waiting[1] + events_of(aside, length, MOST, ENOUGH)
end

-- Entries that a router holds in its memory although they were removed: they are still handed over.
local function removed_and_held()
  local held = 0
  for _, one in ipairs(ask('XPENDING', KEYS[3], ARGV[6], '-', '+', 10000) or {}) do
    if #(ask('XRANGE', KEYS[3], one[1], one[1]) or {}) == 0 then
      held = held + 1
    end
  end
  return held
end

-- Entries that were added, and neither wait nor were routed: it grows when one is removed. What stood there
-- before Redis and routers began to count is in it, too. Before Redis 7.0 that is not known.
local function unaccounted()
  if not is_counted then
    return 'null'
  end
  local known, found_before = pcall(cjson.decode, found[4] or '{}')
  local before = known and tonumber(found_before['unaccounted']) or nil
  local count = added[1] + counter('added_before') - published - lengths[1]
  if before and count > before then
    count = count - removed_and_held()
  end
  return string.format('%.0f', count)
end

local ids = ask('HKEYS', KEYS[2]) or {}
table.sort(ids)
local held, counts, gone, gone_counts = {}, {}, {}, {}
for _, id in ipairs(ids) do
  local state = ARGV[3] .. id
  local count = tonumber(ask('HGET', state, 'backlog_events') or '') or 0
  -- Counts that damage has touched (`recount`) say nothing.
  local vanished = count > 0 and is_empty(id) and ask('HEXISTS', state, 'recount') ~= 1 and not is_leased(id)
  -- What is counted always stands in a lane, or another client took the lane away.
  if vanished and reported[id] then
    redis.call('HDEL', state, 'backlog_events', 'unclaimed_events', 'unclaimed_bytes')
  elseif vanished then
    gone[#gone + 1], gone_counts[#gone_counts + 1] = id, count
  elseif count > 0 then
    held[#held + 1], counts[#counts + 1] = id, count
  end
end

local figures = '{"backlogs":' .. object(held, counts) .. ',"waiting":' .. object(names, waiting)
  .. ',"first_ids":' .. object(names, first_ids) .. ',"last_ids":' .. object(names, last_ids)
  .. ',"added":' .. object(names, added)
  .. ',"published":' .. string.format('%.0f', published)
  .. ',"renumbered":' .. string.format('%.0f', counter('renumbered'))
  .. ',"unaccounted":' .. unaccounted() .. '}'
local number = tonumber(found[2] or 0)
if number == 0 or figures ~= found[4] or now - tonumber(found[3] or 0) >= tonumber(ARGV[5]) then
  number = number + 1
  redis.call('HSET', KEYS[1], 'number', number, 'at', now, 'figures', figures)
end
return {number, now, figures, object(gone, gone_counts)}
