-- Says how the backlogs of many integrations are, of which there is anything to say.
-- It stands behind payloads.lua and oldest.lua.
-- ARGV: 1 prefix of states, 2 prefix of backlogs, 3 how many fields of the state are wanted, these, then ids.
-- Returns for each: its place among the ids, the values of these fields, and what `oldest` says of its lanes; or its place
-- and the error, if its keys are not what they should be.

local fields = {}
for place = 4, 3 + tonumber(ARGV[3]) do
  fields[#fields + 1] = ARGV[place]
end

local function vitals(integration)
  local lanes = ARGV[2] .. integration
  local values = redis.call('HMGET', ARGV[1] .. integration, unpack(fields))
  local since = oldest(lanes .. ':urgent', lanes .. ':bulk')
  for _, value in ipairs(values) do
    if since or value and value ~= '0' then
      return {values, since}
    end
  end
end

local found, first = {}, 4 + #fields
for place = first, #ARGV do
  local ok, one = pcall(vitals, ARGV[place])
  if not ok then
    found[#found + 1] = {place - first, type(one) == 'table' and one.err or tostring(one)}
  elseif one then
    found[#found + 1] = {place - first, one[1], one[2]}
  end
end
return found
