-- Creates posts, each for the next site. wrk accepts one script only, so this one loads the report.
dofile(os.getenv("BENCH_FOLDER") .. "/load.lua")

local paths, count = {}, 0
for path in os.getenv("BENCH_PATHS"):gmatch("%S+") do paths[#paths + 1] = path end
wrk.headers["Content-Type"] = "application/json"
math.randomseed(os.time() + tonumber(tostring(paths):match("0x(%x+)") or "0", 16) % 1000000)

function request()
  count = count + 1
  local title = "Bread " .. math.random(1000000000)
  return wrk.format("POST", paths[count % #paths + 1], nil, '{"title":"' .. title .. '","excerpt":"Of the day."}')
end
