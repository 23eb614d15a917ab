-- Since when the oldest event of a backlog waits, without sending the chunk that holds it. It stands before vitals.lua.

-- The library that Redis brings cannot read the event's bytes, so an event is not read as a whole.
local function fourth_of_first(packed)
  local first = string.byte(packed, 1)
  local offset, value = (first == 0xdc and 3) or (first == 0xdd and 5) or 1, nil
  -- Behind the head of the list comes that of the event: five fields.
  assert(string.byte(packed, offset + 1) == 0x95)
  offset = offset + 1
  for _ = 1, 4 do
    offset, value = cmsgpack.unpack_one(packed, offset)
  end
  return value
end

-- When it came is as late as it can have been published, whatever damage says.
local function published_ms(packed, came)
  local ok, found = pcall(fourth_of_first, packed)
  return ok and type(found) == 'number' and found >= 0 and found <= came and found or came
end

-- Takes the lanes. Returns false, or {when it came into the backlog, when it was published} in ms.
local function oldest(...)
  local came, published
  for _, lane in ipairs({...}) do
    local entry = redis.call('XLEN', lane) > 0 and redis.call('XRANGE', lane, '-', '+', 'COUNT', 1)[1]
    if entry then
      local here = tonumber(string.match(entry[1], '^%d+'))
      local there = published_ms(packed_events(entry) or '', here)
      came, published = math.min(came or here, here), math.min(published or there, there)
    end
  end
  return came and { came, published } or false
end

