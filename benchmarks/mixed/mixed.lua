-- Pages, events and reads of a site in turn. wrk accepts one script only, so this one loads the report.
dofile(os.getenv("BENCH_FOLDER") .. "/load.lua")

local body, count = os.getenv("BENCH_BODY"), 0
local ours = body:find("localhost", 1, true)
local agent = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36"
local page = {["Accept-Encoding"] = "br"}
local event = {["Content-Type"] = "application/json", ["User-Agent"] = agent}
if ours then page.Host, event.Host = "bakery.localhost", "bakery.localhost" end

function request()
  count = count + 1
  local number = count % 50
  if number == 0 then return wrk.format("GET") end
  if number % 12 == 0 then
    return wrk.format("POST", ours and "/_/event" or "/event", event, body)
  end
  return wrk.format("GET", ours and "/" or "/health", page)
end
