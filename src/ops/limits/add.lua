-- Takes over what a node has let through on its own, while it could not ask here.
--
-- KEYS[4]  hash: how much of that has been taken over from this node
-- ARGV: day, all that the node has spent so in it, month, all that it has spent so in it.
-- Told twice, it counts once. Gives the day, the money in it, the month, the money in it.
local taken = KEYS[4]

local function fresh(period, name, id, total)
  local was = redis.call('HMGET', taken, period, name)
  local known = 0
  if tonumber(was[1] or 0) == id then known = tonumber(was[2]) end
  if total <= known then return 0 end
  redis.call('HSET', taken, period, whole(id), name, whole(total))
  return total - known
end

local in_day = fresh('day', 'in_day', tonumber(ARGV[1]), tonumber(ARGV[2]))
local in_month = fresh('month', 'in_month', tonumber(ARGV[3]), tonumber(ARGV[4]))
redis.call('EXPIRE', taken, KEPT_SPENT)
local day, month = today()
if tonumber(ARGV[1]) ~= day then in_day = 0 end
if tonumber(ARGV[3]) ~= month then in_month = 0 end
spend(in_day, in_month)
return { money() }
