// Sends page views, outbound links, downloads, custom events and the viewing time of pages.
// Uses no cookie and no storage.
// Names are short because the script is part of every page: d document, l location, h history, u URL of the
// page, t viewing time in milliseconds, s when the page became visible (0 while it is hidden), on adds an event
// listener.
(() => {
let d = document, l = location, h = history, u, t, s,
on = (o, e, f) => o.addEventListener(e, f),
now = () => Date.now(),
// The id of 64 random bits makes a repeated request count once.
// After a 503 response the event is sent once more.
send = (n, m) => {
let body = JSON.stringify({ n, u, i: [...crypto.getRandomValues(new Uint8Array(8))].map(b => (b + 256).toString(16).slice(1)).join(""), w: navigator.webdriver || undefined, ...m }),
go = () => fetch("PATH", { method: "POST", body, keepalive: true });
go().then(a => (a.status == 503 && setTimeout(go, 3e3), a.text())).catch(() => {});
},
// The page is no longer visible: send the viewing time.
rest = () => {
if (s) t += now() - s;
s = 0;
if (t > 999) send("engagement", { d: Math.min(t, 216e5) });
t = 0;
},
view = () => {
if (u == l.href) return;
let r = u || d.referrer;
if (u) rest();
u = l.href;
t = 0;
s = d.hidden ? 0 : now();
send("pageview", { r: r || undefined });
},
push = h.pushState;
window.analytics = (n, o = {}) => send(n, { p: o.props, v: o.revenue });
on(d, "visibilitychange", () => d.hidden ? rest() : s = now());
on(window, "pagehide", rest);
on(d, "click", e => {
let a = e.target.closest("a[href]"), p = a && { url: a.href.slice(0, 300) };
if (!a || !/^http/.test(a.protocol)) return;
if (a.host != l.host) send("outbound", { p });
else if (/\.(pdf|zip|docx?|xlsx?|pptx?|csv|mp[34]|epub|dmg|exe|gz)$/i.test(a.pathname)) send("download", { p });
});
h.pushState = function () { push.apply(h, arguments); view(); };
on(window, "popstate", view);
on(window, "pageshow", e => { if (e.persisted) { u = 0; view(); } });
d.prerendering ? on(d, "prerenderingchange", view) : view();
})();
