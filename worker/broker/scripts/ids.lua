-- Stands before what compares ids of entries: numbers of 64 bits, which Lua cannot hold exactly.

-- Both are decimal numbers without leading zeros; less than, equal to or greater than 0.
local function compare(one, other)
  if #one ~= #other then
    return #one < #other and -1 or 1
  end
  return one == other and 0 or (one < other and -1 or 1)
end

local function is_after(one, other)
  local ms, sequence = string.match(one, '^(%d+)-(%d+)$')
  local other_ms, other_sequence = string.match(other, '^(%d+)-(%d+)$')
  local order = compare(ms, other_ms)
  return order > 0 or (order == 0 and compare(sequence, other_sequence) > 0)
end

-- The value behind a name in a reply of XINFO, or nil.
local function value_of(reply, name)
  for place = 1, #reply, 2 do
    if reply[place] == name then
      return reply[place + 1]
    end
  end
end

-- The id that was given out last to a group of a stream, or nil.
local function last_given(stream, group)
  for _, found in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
    if value_of(found, 'name') == group then
      return value_of(found, 'last-delivered-id')
    end
  end
end

