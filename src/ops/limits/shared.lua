-- What all scripts over one user's account begin with. The arithmetic is that of policy/limit.rs, which has the reasons.
--
-- KEYS[1]  hash: windows `<kind>:<scope>:<slot>` with their `:sum` and the second `:at` of their newest slot; what is held, as `run:<scope>`,
--          `held:<scope>` and `usd`; and `lease:<id>`: what one request holds
-- KEYS[2]  sorted set: leases by the second in which they end
-- KEYS[3]  hash: money of the day and the month, in thousand-millionths of a dollar
local state, leases, spent = KEYS[1], KEYS[2], KEYS[3]
local SPAN, DAY, KEPT, KEPT_SPENT = 61, 86400, 3600, 32 * 86400
-- One clock for all nodes.
local now = tonumber(redis.call('TIME')[1])

-- As Redis reads it. Less nothing is written as nothing.
local function whole(number)
  return string.format('%.0f', number + 0)
end

local function count(field)
  return math.max(tonumber(redis.call('HGET', state, field) or 0), 0)
end

local function today()
  local day = math.floor(now / DAY)
  local shifted = day + 719468
  local era = math.floor(shifted / 146097)
  local of_era = shifted % 146097
  local year = math.floor((of_era - math.floor(of_era / 1460) + math.floor(of_era / 36524) - math.floor(of_era / 146096)) / 365)
  local of_year = of_era - (365 * year + math.floor(year / 4) - math.floor(year / 100))
  return day, (era * 400 + year) * 12 + math.floor((5 * of_year + 2) / 153) + 2
end

-- What a window counts by now. Slots whose time has come again are emptied.
local function sum(window)
  local newest, total = count(window .. ':at'), count(window .. ':sum')
  if total > 0 and now > newest then
    local slots = {}
    for second = newest + 1, newest + math.min(now - newest, SPAN) do
      slots[#slots + 1] = window .. ':' .. second % SPAN
    end
    for _, old in ipairs(redis.call('HMGET', state, unpack(slots))) do
      total = total - tonumber(old or 0)
    end
    redis.call('HDEL', state, unpack(slots))
    redis.call('HSET', state, window .. ':at', whole(now), window .. ':sum', whole(total))
  end
  return total
end

local function add(window, number)
  if number <= 0 then return end
  sum(window)
  -- A clock that was set back does not make what happens now older than what happened before.
  local newest = math.max(count(window .. ':at'), now)
  redis.call('HINCRBY', state, window .. ':' .. newest % SPAN, whole(number))
  redis.call('HINCRBY', state, window .. ':sum', whole(number))
  redis.call('HSET', state, window .. ':at', whole(newest))
end

-- Seconds until no more than `most` is counted.
local function wait(window, most)
  local left, newest = sum(window), count(window .. ':at')
  for second = newest - SPAN + 1, newest do
    if left <= most then break end
    left = left - count(window .. ':' .. second % SPAN)
    if left <= most then return math.max(second + SPAN - now, 1) end
  end
  return 0
end

-- What was spent in this day and this month.
local function money()
  local day, month = today()
  local was = redis.call('HMGET', spent, 'day', 'in_day', 'month', 'in_month')
  local in_day, in_month = 0, 0
  if tonumber(was[1] or 0) == day then in_day = tonumber(was[2]) end
  if tonumber(was[3] or 0) == month then in_month = tonumber(was[4]) end
  return day, in_day, month, in_month
end

local function spend(more_in_day, more_in_month)
  local day, in_day, month, in_month = money()
  if more_in_day > 0 or more_in_month > 0 then
    redis.call('HSET', spent, 'day', day, 'in_day', whole(in_day + more_in_day), 'month', month, 'in_month', whole(in_month + more_in_month))
    redis.call('EXPIRE', spent, KEPT_SPENT)
  end
end

-- Gives back what a lease holds; nil if there is none such.
local function take(lease)
  redis.call('ZREM', leases, lease)
  local packed = redis.call('HGET', state, 'lease:' .. lease)
  if not packed then return nil end
  redis.call('HDEL', state, 'lease:' .. lease)
  local held = cmsgpack.unpack(packed)
  for at = 3, #held do
    redis.call('HINCRBY', state, 'run:' .. held[at], -1)
    redis.call('HINCRBY', state, 'held:' .. held[at], whole(-held[1]))
  end
  redis.call('HINCRBY', state, 'usd', whole(-held[2]))
  return held
end

-- Nobody has renewed these leases: their node is gone, and what it has used is not known. So all of it counts.
local function expire()
  for _, lease in ipairs(redis.call('ZRANGEBYSCORE', leases, '-inf', now, 'LIMIT', 0, 100)) do
    local held = take(lease)
    if held then
      for at = 3, #held do add('tokens:' .. held[at], held[1]) end
      spend(held[2], held[2])
    end
  end
end

local function keep()
  redis.call('EXPIRE', state, KEPT)
  redis.call('EXPIRE', leases, KEPT)
end
