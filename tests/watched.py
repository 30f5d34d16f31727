"""Chromium on the look-out: pages that are touched everywhere, and whatever a page does that it should not."""

import re
from itertools import cycle

# Tells of every payload that runs, and of what a policy stops or would have stopped.
WATCH = """
Object.defineProperty(window, 'pwned', {value: number => { console.error('ran ' + number); return '' }})
addEventListener('securitypolicyviolation', event => console.error('violation ' + event.violatedDirective + ' ' + event.blockedURI))
"""
TOUCH = """
window => {
  window ??= self
  const document = window.document, kinds = ['pointerover', 'pointerenter', 'mouseover', 'mouseenter', 'mousedown', 'mouseup', 'auxclick',
    'focusin', 'focus', 'blur', 'input', 'change', 'keydown', 'toggle', 'beforetoggle', 'load', 'error', 'copy', 'wheel', 'animationstart',
    'animationend', 'transitionend', 'start', 'begin', 'beginEvent', 'slotchange']
  window.addEventListener('click', event => {
    const link = event.target.closest?.('a[href]')
    if (link && ['http:', 'https:', 'mailto:', 'tel:'].includes(link.protocol)) event.preventDefault()
  }, true)
  window.addEventListener('submit', event => {
    if (new URL(event.target.action, document.baseURI).origin === window.location.origin) event.preventDefault()
  }, true)
  for (const details of document.querySelectorAll('details:not(.frame)')) details.open = true
  for (const element of document.querySelectorAll('*')) {
    if ([...element.attributes].some(attribute => attribute.name.startsWith('on'))) for (const kind of kinds) element.dispatchEvent(new window.Event(kind))
    if (element.closest('.frame')) continue
    element.focus?.({preventScroll: true})
    element.dispatchEvent(new window.MouseEvent('click', {bubbles: true, cancelable: true}))
  }
  for (const kind of ['pageshow', 'resize', 'message', 'hashchange', 'popstate']) window.dispatchEvent(new window.Event(kind))
}
"""
LOOK = """
rich => {
  const tags = {}, values = {}, attributes = new Set(), wrong = []
  const count = (where, what) => where[what] = (where[what] ?? 0) + 1
  const walker = document.createTreeWalker(document, NodeFilter.SHOW_ELEMENT | NodeFilter.SHOW_COMMENT | NodeFilter.SHOW_PROCESSING_INSTRUCTION)
  while (walker.nextNode()) {
    const node = walker.currentNode, name = node.nodeName.toLowerCase()
    if (node.nodeType !== 1) { wrong.push('a comment: ' + node.data); continue }
    const inside = node.parentElement?.closest('.prose')
    if (inside && !rich.includes(name)) wrong.push(node.outerHTML.slice(0, 200))
    if (!inside && name !== 'p' && name !== 'br') count(tags, name)
    for (const attribute of node.attributes) {
      const pair = name + ' ' + attribute.name
      if (!inside) attributes.add(pair)
      else if (!['a href', 'a rel'].includes(pair) && !['title', 'lang'].includes(attribute.name)) wrong.push(pair)
      if (attribute.name.startsWith('on')) wrong.push(pair)
      if (!inside && ['id', 'class', 'name', 'property', 'http-equiv', 'rel', 'type'].includes(attribute.name)) count(values, attribute.name + '=' + attribute.value)
      if (!['href', 'src', 'action', 'formaction', 'data', 'poster', 'xlink:href'].includes(attribute.name)) continue
      const address = new URL(attribute.value, document.baseURI)
      const far = name === 'a' ? ['http:', 'https:', 'mailto:', 'tel:'] : ['https:']
      if (address.origin !== location.origin && !far.includes(address.protocol)) wrong.push(pair + ' ' + attribute.value)
    }
  }
  return {tags, values, attributes: [...attributes], wrong}
}
"""
ADMIN_LOOK = """
() => [...document.querySelectorAll('*')].flatMap(node => {
  const name = node.nodeName.toLowerCase(), wrong = [...node.attributes].filter(attribute => attribute.name.startsWith('on'))
  const ours = name !== 'script' || (node.src ? new URL(node.src).origin === location.origin : node.type.includes('json'))
  const strange = ['iframe', 'frame', 'object', 'embed', 'base', 'math', 'video', 'audio', 'template', 'style', 'plaintext'].includes(name)
  const address = ['href', 'src', 'action', 'formaction', 'xlink:href'].map(kind => node.getAttribute(kind)).find(value => value !== null)
  const leads = address === undefined ? 'http:' : new URL(address, document.baseURI).protocol
  return wrong.length || !ours || strange || node.httpEquiv || !['http:', 'data:'].includes(leads) ? [node.outerHTML.slice(0, 200)] : []
})
"""


class Watched:
    """Tabs that take turns, so that what a page does late is seen as well.

    `found` is what no page should do.
    """

    def __init__(self, browser, *, tabs=4):
        self.found = []
        self.context = browser.new_context(viewport={"width": 640, "height": 400})
        self.context.set_default_timeout(20_000)
        self.context.add_init_script(WATCH)
        self.tabs = [self.context.new_page() for _ in range(tabs)]
        self.turns = cycle(self.tabs)
        self.context.on("page", lambda page: self.found.append(f"a new page: {page.url}"))
        self.context.on(
            "request", lambda request: None if self.own(request.url) else self.found.append(request.url)
        )
        self.context.on("console", self.said)
        self.context.on("weberror", lambda error: self.found.append(f"an error: {error.error}"))
        for tab in self.tabs:
            tab.on("dialog", self.asked)
            tab.on("download", lambda download: self.found.append(f"a download: {download.url}"))

    @staticmethod
    def own(address):
        return re.match(r"http://([a-z0-9-]+\.localhost|127\.0\.0\.1):", address)

    def said(self, message):
        if message.type in {"error", "warning"} and not message.location["url"].endswith("/nowhere"):
            self.found.append(f"{message.text} ({message.page and message.page.url})")

    def asked(self, dialog):
        self.found.append(f"a dialog: {dialog.message}")
        dialog.dismiss()

    def open(self, address):
        tab = next(self.turns)
        tab.goto(address, wait_until="domcontentloaded")
        return tab

    def close(self):
        """Everything found, once all tabs have been quiet."""
        for tab in self.tabs:
            tab.wait_for_load_state("networkidle")
        self.context.close()
        return self.found
