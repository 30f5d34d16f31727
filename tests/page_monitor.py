"""Opens hostile pages in Chromium, triggers their events, and records everything suspicious they do."""

import re
from itertools import cycle

import pytest

# Reports to the console every payload that runs, and every violation of the page's policy (enforced or not).
REPORT_SCRIPT_RUNS = """
Object.defineProperty(window, 'pwned', {value: number => { console.error('ran ' + number); return '' }})
addEventListener('securitypolicyviolation', event =>
  console.error('violation ' + event.violatedDirective + ' ' + event.blockedURI))
"""
# Opens everything that opens, and dispatches events to every element, without leaving the page.
TRIGGER_ALL_EVENTS = """
window => {
  window ??= self
  const document = window.document
  const kinds = [
    'pointerover', 'pointerenter', 'mouseover', 'mouseenter', 'mousedown', 'mouseup', 'auxclick', 'focusin',
    'focus', 'blur', 'input', 'change', 'keydown', 'toggle', 'beforetoggle', 'load', 'error', 'copy', 'wheel',
    'animationstart', 'animationend', 'transitionend', 'start', 'begin', 'beginEvent', 'slotchange']
  window.addEventListener('click', event => {
    const link = event.target.closest?.('a[href]')
    if (link && ['http:', 'https:', 'mailto:', 'tel:'].includes(link.protocol)) event.preventDefault()
  }, true)
  window.addEventListener('submit', event => {
    const action = new URL(event.target.action, document.baseURI)
    if (action.origin === window.location.origin) event.preventDefault()
  }, true)
  for (const details of document.querySelectorAll('details:not(.frame)')) details.open = true
  for (const element of document.querySelectorAll('*')) {
    if ([...element.attributes].some(attribute => attribute.name.startsWith('on')))
      for (const kind of kinds) element.dispatchEvent(new window.Event(kind))
    if (element.closest('.frame')) continue
    element.focus?.({preventScroll: true})
    element.dispatchEvent(new window.MouseEvent('click', {bubbles: true, cancelable: true}))
  }
  for (const kind of ['pageshow', 'resize', 'message', 'hashchange', 'popstate'])
    window.dispatchEvent(new window.Event(kind))
}
"""
# For a published page. The argument lists the elements that rich text may hold. Returns the number of each
# element and of each identifying attribute value outside of rich text, the attributes used there, and
# `wrong`: elements, attributes and addresses that no page may hold.
INSPECT_SITE_PAGE = """
richTags => {
  const tags = {}, values = {}, attributes = new Set(), wrong = []
  const count = (counts, key) => counts[key] = (counts[key] ?? 0) + 1
  const identifying = ['id', 'class', 'name', 'property', 'http-equiv', 'rel', 'type']
  const addressed = ['href', 'src', 'action', 'formaction', 'data', 'poster', 'xlink:href']
  const walker = document.createTreeWalker(document,
    NodeFilter.SHOW_ELEMENT | NodeFilter.SHOW_COMMENT | NodeFilter.SHOW_PROCESSING_INSTRUCTION)
  while (walker.nextNode()) {
    const node = walker.currentNode, name = node.nodeName.toLowerCase()
    if (node.nodeType !== 1) { wrong.push('a comment: ' + node.data); continue }
    const inRichText = node.parentElement?.closest('.prose')
    if (inRichText && !richTags.includes(name)) wrong.push(node.outerHTML.slice(0, 200))
    if (!inRichText && name !== 'p' && name !== 'br') count(tags, name)
    for (const attribute of node.attributes) {
      const pair = name + ' ' + attribute.name
      if (!inRichText) attributes.add(pair)
      else if (!['a href', 'a rel'].includes(pair) && !['title', 'lang'].includes(attribute.name))
        wrong.push(pair)
      if (attribute.name.startsWith('on')) wrong.push(pair)
      if (!inRichText && identifying.includes(attribute.name))
        count(values, attribute.name + '=' + attribute.value)
      if (!addressed.includes(attribute.name)) continue
      const address = new URL(attribute.value, document.baseURI)
      const schemes = name === 'a' ? ['http:', 'https:', 'mailto:', 'tel:'] : ['https:']
      if (address.origin !== location.origin && !schemes.includes(address.protocol))
        wrong.push(pair + ' ' + attribute.value)
    }
  }
  return {tags, values, attributes: [...attributes], wrong}
}
"""
# For an admin page. Returns the markup of elements that could run a script or load something.
INSPECT_ADMIN_PAGE = """
() => [...document.querySelectorAll('*')].flatMap(node => {
  const name = node.nodeName.toLowerCase()
  const handlers = [...node.attributes].filter(attribute => attribute.name.startsWith('on'))
  const foreignScript = name === 'script'
    && !(node.src ? new URL(node.src).origin === location.origin : node.type.includes('json'))
  const strange = [
    'iframe', 'frame', 'object', 'embed', 'base', 'math', 'video', 'audio', 'template', 'style', 'plaintext',
  ].includes(name)
  const address = ['href', 'src', 'action', 'formaction', 'xlink:href']
    .map(attribute => node.getAttribute(attribute)).find(value => value !== null)
  const scheme = address === undefined ? 'http:' : new URL(address, document.baseURI).protocol
  const dangerous = handlers.length || foreignScript || strange || node.httpEquiv
    || !['http:', 'data:'].includes(scheme)
  return dangerous ? [node.outerHTML.slice(0, 200)] : []
})
"""


class PageMonitor:
    """Tabs that take turns, so that what a page does late is recorded too.

    `incidents` describes everything that no page should do: requests to foreign hosts, console errors,
    dialogs, downloads, new windows and uncaught exceptions.
    """

    def __init__(self, browser, *, tabs=4):
        self.incidents = []
        self.context = browser.new_context(viewport={"width": 640, "height": 400})
        self.context.set_default_timeout(20_000)  # milliseconds
        self.context.add_init_script(REPORT_SCRIPT_RUNS)
        self.tabs = [self.context.new_page() for _ in range(tabs)]
        self.next_tab = cycle(self.tabs)
        self.context.on("page", lambda page: self.incidents.append(f"a new page: {page.url}"))
        self.context.on("request", self.record_foreign_request)
        self.context.on("console", self.record_console_error)
        self.context.on("weberror", lambda error: self.incidents.append(f"an error: {error.error}"))
        for tab in self.tabs:
            tab.on("dialog", self.record_dialog)
            tab.on("download", lambda download: self.incidents.append(f"a download: {download.url}"))

    @staticmethod
    def is_local(address):
        """Whether an address is on a `*.localhost` host or on 127.0.0.1."""
        return re.match(r"http://([a-z0-9-]+\.localhost|127\.0\.0\.1):", address)

    def record_foreign_request(self, request):
        if not self.is_local(request.url):
            self.incidents.append(request.url)

    def record_console_error(self, message):
        """Record a warning or an error, except the 404 of the page that a test opens on purpose."""
        if message.type in {"error", "warning"} and not message.location["url"].endswith("/nowhere"):
            self.incidents.append(f"{message.text} ({message.page and message.page.url})")

    def record_dialog(self, dialog):
        self.incidents.append(f"a dialog: {dialog.message}")
        dialog.dismiss()

    def open(self, address):
        """Load `address` in the next tab, and return the tab."""
        tab = next(self.next_tab)
        tab.goto(address, wait_until="domcontentloaded")
        return tab

    def close(self):
        """Wait until no tab loads anything, close the tabs, and return all incidents."""
        for tab in self.tabs:
            tab.wait_for_load_state("networkidle")
        self.context.close()
        return self.incidents


@pytest.fixture
def open_monitor(browser):
    """Create page monitors that are closed after the test: `open_monitor(tabs=1)`."""
    monitors = []

    def create(**options):
        monitors.append(PageMonitor(browser, **options))
        return monitors[-1]

    yield create
    for monitor in monitors:
        monitor.context.close()
