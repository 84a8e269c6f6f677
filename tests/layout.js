// What is cut, lies upon its neighbour or makes the page scroll sideways, in words.
() => {
  const odd = [];
  if (document.documentElement.scrollWidth > innerWidth) odd.push("the page scrolls sideways");
  const seen = element => element.getClientRects().length > 0;
  const touch = (a, b) => a.left < b.right - .5 && b.left < a.right - .5 && a.top < b.bottom - .5 && b.top < a.bottom - .5;
  for (const svg of [...document.querySelectorAll("svg.plotted")].filter(seen)) {
    const frame = svg.getBoundingClientRect();
    const texts = [...svg.querySelectorAll("text")].map(text => [text.textContent, text.getBoundingClientRect()]);
    texts.forEach(([words, box], at) => {
      if (box.left < Math.max(0, frame.left - 1) || box.right > Math.min(innerWidth, frame.right + 1)
        || box.top < frame.top - 4 || box.bottom > frame.bottom + 1) odd.push(`cut: ${words}`);
      for (const [others, other] of texts.slice(at + 1)) if (touch(box, other)) odd.push(`${words} on ${others}`);
    });
  }
  for (const element of [...document.querySelectorAll("h1, h2, h3, p, dt, dd, li, caption, summary")].filter(seen)) {
    if (element.closest(".hidden")) continue;
    if (element.scrollWidth > element.clientWidth + 1 && getComputedStyle(element).display !== "inline")
      odd.push(`too wide: ${element.textContent.slice(0, 40)}`);
  }
  for (const group of document.querySelectorAll("main, section, dl, ul, .drawings, .charts")) {
    const boxes = [...group.children].filter(child => seen(child) && getComputedStyle(child).position === "static")
      .map(child => child.getBoundingClientRect());
    boxes.forEach((box, at) => {
      for (const other of boxes.slice(at + 1)) if (touch(box, other)) odd.push(`neighbours overlap in ${group.tagName}`);
    });
  }
  // Every line of text, and every control, by itself.
  const boxes = [];
  const isHidden = (element) => {
    if (!element.checkVisibility()) return true;
    for (let at = element; at && at !== document.body; at = at.parentElement) {
      const style = getComputedStyle(at);
      if (style.clipPath !== "none" || style.visibility === "hidden") return true;
      if (at.classList.contains("skip")) return true;
    }
    return false;
  };
  const scroller = (element) => {
    for (let at = element; at && at !== document.body; at = at.parentElement) {
      if (["auto", "scroll"].includes(getComputedStyle(at).overflowX)) return at.getBoundingClientRect();
    }
    return null;
  };
  const add = (element, rectangle, words) => {
    let {left, right, top, bottom} = rectangle;
    const around = scroller(element);
    if (around) {
      [left, right] = [Math.max(left, around.left), Math.min(right, around.right)];
      [top, bottom] = [Math.max(top, around.top), Math.min(bottom, around.bottom)];
    }
    if (right - left < 1 || bottom - top < 1) return;
    if (left < -1 || right > innerWidth + 1) odd.push(`outside the window: ${words}`);
    boxes.push({element, left, right, top, bottom, words});
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    if (!node.data.trim() || element.closest("script, style, select") || isHidden(element)) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    for (const rectangle of range.getClientRects()) add(element, rectangle, node.data.trim().slice(0, 60));
  }
  for (const element of document.querySelectorAll("input, select, svg, button")) {
    if (!isHidden(element)) add(element, element.getBoundingClientRect(), element.outerHTML.slice(0, 60));
  }
  boxes.sort((a, b) => a.top - b.top);
  const across = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left);
  const down = (a, b) => Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
  boxes.forEach((a, index) => {
    for (let other = index + 1; other < boxes.length && boxes[other].top < a.bottom; other += 1) {
      const b = boxes[other];
      if (a.element.contains(b.element) || b.element.contains(a.element)) continue;
      if (across(a, b) > 1 && down(a, b) > 4) odd.push(`${a.words} lies over ${b.words}`);
    }
  });
  for (const element of document.querySelectorAll("body *")) {
    const style = getComputedStyle(element);
    if (["visible", "auto", "scroll"].includes(style.overflowX) || isHidden(element)) continue;
    if (element.closest("svg, input, select")) continue;
    if (element.scrollWidth > element.clientWidth + 1 || element.scrollHeight > element.clientHeight + 1) {
      odd.push(`cut off: ${element.outerHTML.slice(0, 60)}`);
    }
  }
  return odd.slice(0, 20);
}
