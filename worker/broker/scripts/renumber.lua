-- Brings the ids of the ingress back to the clock of Redis: its stream is moved aside, another one begins, and
-- what waited is added to that one.
-- KEYS: 1 ingress, 2 list of the streams that were moved aside, 3 lock of the one that reads ahead, 4 counters,
--       5 what is reported of it afterwards.
-- ARGV: 1 group, 2 how far ids may be ahead of the clock (ms), 3 how many entries and 4 how many bytes of memory
--       one call may move, 5 for how many seconds it is reported.
-- Returns {the last id if it was ahead of the clock, or '', how many entries the stream had then, how many
-- entries are still to be added again}.
--
-- Entries with ids of the clock that a reader holds stay as they are: same id, same reader. So do those behind
-- them, as far as one call may move. All others get a new id: their readers find that they were taken over.

-- A full Redis must be repaired, too: this needs no memory, and lets the rest be written.
redis.call('DEL', 'siem:none')
-- Of another type they would end this script each time, and with it the sweep of which it is the first step.
make_way(KEYS[2], false, 'list')
make_way(KEYS[4], false, 'hash')

local GROUP, MOST, BYTES = ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[4])
-- Lua can pass on so many words at once. An entry needs two.
local MOST_FIELDS = 2000
local MOST_AT_A_LOOK = 100

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local latest_ms = string.format('%.0f', now_ms + tonumber(ARGV[2]))
local now = string.format('%.0f', now_ms)

local function is_ahead(id)
  return compare(string.match(id, '^%d+'), latest_ms) > 0
end

local function count(name, by)
  -- What damage made no number begins again.
  if type(redis.pcall('HINCRBY', KEYS[4], name, by)) ~= 'number' then
    redis.call('HSET', KEYS[4], name, by)
  end
end

-- In the order in which they count.
local FORMS = {'event', 'frame', 'events'}

-- Of too many fields, those with events count; without any it is a dead letter anyway, and keeps a part of them.
local function bounded(fields)
  if #fields <= MOST_FIELDS then
    return fields
  end
  local few, found = {}, {}
  for place = 1, #fields, 2 do
    found[fields[place]] = fields[place + 1]
    if #few < MOST_FIELDS then
      few[#few + 1], few[#few + 2] = fields[place], fields[place + 1]
    end
  end
  for _, form in ipairs(FORMS) do
    if found[form] then
      return {form, found[form]}
    end
  end
  return few
end

local function size(fields)
  local bytes = 0
  for _, field in ipairs(fields) do
    bytes = bytes + #field
  end
  return bytes
end

local moved, moved_bytes = 0, 0

local function may_move()
  return moved < MOST and moved_bytes < BYTES
end

local function move(from, entry, id)
  redis.call('XADD', KEYS[1], id, unpack(bounded(entry[2])))
  redis.call('XDEL', from, entry[1])
  moved, moved_bytes = moved + 1, moved_bytes + size(entry[2])
end

local function look(stream)
  local most = light(stream, 0, MOST_AT_A_LOOK, BYTES)
  return redis.call('XRANGE', stream, '-', '+', 'COUNT', most)
end

-- What readers hold: id → {id, reader, for how long (ms), how often it was given out}.
local function held_by_readers()
  local held = {}
  local found = redis.pcall('XPENDING', KEYS[1], GROUP, '-', '+', 1000000)
  for _, one in ipairs(found.err and {} or found) do
    held[one[1]] = one
  end
  return held
end

-- Moves the entries that keep their ids; returns those that readers hold.
local function keep(from, held)
  local kept = {}
  while true do
    local entries = look(from)
    for _, entry in ipairs(entries) do
      local holding = held[entry[1]]
      if is_ahead(entry[1]) or not (holding or may_move()) then
        return kept
      end
      move(from, entry, entry[1])
      kept[#kept + 1] = holding
    end
    if #entries == 0 then
      return kept
    end
  end
end

local function begin_again(info)
  local held = held_by_readers()
  local aside = KEYS[2] .. ':' .. now
  while redis.call('EXISTS', aside) == 1 do
    aside = aside .. '+'
  end
  redis.call('RPUSH', KEYS[2], aside)
  redis.call('RENAME', KEYS[1], aside)
  local kept = keep(aside, held)
  -- Not where the old group was: entries may get lower ids than that from now on, and it would not give them out.
  redis.call('XGROUP', 'CREATE', KEYS[1], GROUP, #kept > 0 and kept[#kept][1] or '0-0', 'MKSTREAM')
  for _, one in ipairs(kept) do
    redis.call('XCLAIM', KEYS[1], GROUP, one[2], 0, one[1], 'IDLE', one[3], 'RETRYCOUNT', one[4], 'FORCE',
      'JUSTID')
  end
  -- No id of the past can be chosen either. It fails if the latest entry is a little ahead of the clock.
  redis.pcall('XSETID', KEYS[1], now .. '-0')
  -- Who reads ahead holds entries under ids that are no more.
  redis.call('DEL', KEYS[3])
  count('renumbered', 1)
  local added = value_of(info, 'entries-added')
  if added then
    count('added_before', added - moved)
  end
  redis.call('SET', KEYS[5], now .. ' ' .. value_of(info, 'last-generated-id'), 'EX', ARGV[5])
end

local function add_again(aside)
  local before = moved
  while may_move() do
    local entries = look(aside)
    for _, entry in ipairs(entries) do
      if may_move() then
        move(aside, entry, '*')
      end
    end
    if #entries == 0 then
      break
    end
  end
  if moved > before then
    count('added_before', before - moved)
  end
  if redis.call('XLEN', aside) == 0 then
    redis.call('DEL', aside)
    redis.call('LPOP', KEYS[2])
  end
end

local ahead, waited = '', 0
local info = redis.pcall('XINFO', 'STREAM', KEYS[1])
if not info.err and is_ahead(value_of(info, 'last-generated-id')) then
  ahead, waited = value_of(info, 'last-generated-id'), value_of(info, 'length')
  begin_again(info)
end

local first = redis.call('LINDEX', KEYS[2], 0)
if first then
  if redis.call('TYPE', first).ok == 'stream' then
    add_again(first)
  else
    redis.call('LPOP', KEYS[2]) -- it was removed
  end
end

local left = 0
for _, aside in ipairs(redis.call('LRANGE', KEYS[2], 0, -1)) do
  -- One that is no stream is dropped when it is the first.
  local length = redis.pcall('XLEN', aside)
  left = left + (type(length) == 'number' and length or 0)
end
return {ahead, waited, left}
