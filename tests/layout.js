// What is cut, lies upon its neighbour or makes the page scroll sideways, in words.
() => {
  const odd = [];
  if (document.documentElement.scrollWidth > innerWidth) odd.push("the page scrolls sideways");
  const seen = element => element.getClientRects().length > 0;
  const touch = (a, b) => a.left < b.right - .5 && b.left < a.right - .5 && a.top < b.bottom - .5 && b.top < a.bottom - .5;
  for (const svg of [...document.querySelectorAll("svg.chart")].filter(seen)) {
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
  return odd;
}
