// Pictures, a sentence, and native controls. Python says what there is; this shows it and reports what is touched.
// Traits read: pictures (PNGs), alts, note, sentence, problem, controls, limits, values, thumbs, code. Messages sent: {touched: [[name, value], ...], ticket}.
// Messages received: {heard: ticket}, when Python is done with what was touched; {file: name, ticket} with a buffer, to be saved where the ticket is from.

const element = (tag, attributes = {}, ...children) => {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
};

const save = (name, bytes) => {
  const link = element("a", { href: URL.createObjectURL(new Blob([bytes])), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
};

// One message is on its way at a time. A slider moved meanwhile sends its last place only; presses of buttons all count.
function courier(model) {
  const me = Math.random().toString(36).slice(2);
  let sent = 0, waiting = null, touched = [];
  const flush = () => {
    if (waiting || !touched.length) return;
    waiting = `${me}-${++sent}`;
    model.send({ touched, ticket: waiting });
    touched = [];
  };
  const hear = (message, buffers) => {
    if (message.file && message.ticket.startsWith(me)) save(message.file, buffers[0]);
    if (message.heard === waiting) { waiting = null; flush(); }
  };
  model.on("msg:custom", hear);
  const touch = (name, value = null) => {
    const last = touched.at(-1);  // never across another touch: order counts
    if (value !== null && last?.[0] === name) last[1] = value; else touched.push([name, value]);
    flush();
  };
  return [touch, () => model.off("msg:custom", hear)];
}

// What the reader's page looks like: Python draws pictures to match.
function reader(el, touch) {
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  let known = "";
  const look = () => {
    if (!el.isConnected) return;
    let node = el, color = [255, 255, 255, 0];
    for (; node && !(color[3] > 0); node = node.parentElement) {
      const parts = getComputedStyle(node).backgroundColor.match(/[\d.]+/g)?.map(Number) ?? [0, 0, 0, 0];
      color = [...parts, 1].slice(0, 4);
    }
    const dark = color[3] > 0 && 0.3 * color[0] + 0.59 * color[1] + 0.11 * color[2] < 128;
    el.classList.toggle("ganlab-dark", dark);
    const seen = { dark, reduced: still.matches };
    if (JSON.stringify(seen) !== known) { known = JSON.stringify(seen); touch("reader", seen); }
  };
  const theme = new MutationObserver(() => setTimeout(look, 100));
  theme.observe(document.body, { attributes: true });
  still.addEventListener("change", look);
  requestAnimationFrame(look);
  return () => { theme.disconnect(); still.removeEventListener("change", look); };
}

// A live region that speaks at most every five seconds, and always says the last thing.
function speaker(node) {
  let last = 0, timer = null;
  const speak = text => {
    clearTimeout(timer);
    const say = () => { last = Date.now(); if (node.textContent !== text) node.textContent = text; };
    timer = setTimeout(say, Math.max(0, last + 5000 - Date.now()));
  };
  return [speak, () => clearTimeout(timer)];
}

const makers = {
  button: (c, touch) => {
    const node = element("button", { type: "button", title: c.help, "data-name": c.name }, c.label);
    node.addEventListener("click", () => touch(c.name));
    return { node };
  },
  slider: (c, touch, id) => {
    const input = element("input", { type: "range", id, step: c.step, title: c.help, "data-name": c.name });
    const out = element("span", { class: "ganlab-number", "aria-hidden": "true" });
    const number = () => c.log ? 10 ** input.valueAsNumber : input.valueAsNumber;
    const read = value => {
      const words = c.log ? value.toExponential(1) : String(Math.round(value * 1e4) / 1e4);
      out.textContent = words;
      input.setAttribute("aria-valuetext", words);
    };
    input.addEventListener("input", () => { read(number()); touch(c.name, number()); });
    const set = value => { input.value = c.log ? Math.log10(value) : value; read(value); };  // the handle goes to the nearest step, the readout does not
    const limit = ([low, high]) => { input.min = low; input.max = high; };
    limit([c.min, c.max]);
    return { node: element("span", { class: "ganlab-control" }, element("label", { for: id }, c.label), input, out), input, set, limit };
  },
  choice: (c, touch, id) => {
    const input = element("select", { id, title: c.help, "data-name": c.name }, ...c.options.map(o => element("option", { value: o }, o)));
    input.addEventListener("change", () => touch(c.name, input.value));
    return { node: element("span", { class: "ganlab-control" }, element("label", { for: id }, c.label), input), input, set: v => { input.value = v; } };
  },
  check: (c, touch, id) => {
    const input = element("input", { type: "checkbox", id, title: c.help, "data-name": c.name });
    input.addEventListener("change", () => touch(c.name, input.checked));
    return { node: element("span", { class: "ganlab-control" }, input, element("label", { for: id }, c.label)), input, set: v => { input.checked = v; } };
  },
  text: (c, touch, id) => {
    const input = element("input", { type: "text", id, title: c.help, "data-name": c.name, spellcheck: "false" });
    let typing = false;
    input.addEventListener("input", () => { typing = true; });
    const commit = () => { if (typing) { typing = false; touch(c.name, input.value); } };
    input.addEventListener("change", commit);
    input.addEventListener("keydown", e => { if (e.key === "Enter") commit(); });
    return { node: element("span", { class: "ganlab-control ganlab-wide" }, element("label", { for: id }, c.label), input), input, set: v => { if (!typing) input.value = v; } };
  },
  thumbs: (c, touch, id) => {  // radio buttons, so that arrow keys choose
    const node = element("fieldset", { class: "ganlab-thumbs" }, element("legend", {}, c.label));
    const radios = () => [...node.querySelectorAll("input")];
    const add = i => {
      const input = element("input", { type: "radio", name: id, title: c.help, "data-name": c.name, "data-lm-suppress-shortcuts": "true" });
      input.addEventListener("change", () => touch(c.name, i));
      node.append(element("label", {}, input, element("img", { alt: "" })));
    };
    const fill = all => {
      while (radios().length > all.length) node.lastChild.remove();
      while (radios().length < all.length) add(radios().length);
      all.forEach(([label, bytes], i) => {
        const input = radios()[i], img = input.nextSibling, old = img.src;
        input.setAttribute("aria-label", label);
        input.parentNode.title = label;
        img.src = URL.createObjectURL(new Blob([bytes], { type: "image/png" }));
        if (old) URL.revokeObjectURL(old);
      });
    };
    return { node, input: node, set: v => { if (radios()[v]) radios()[v].checked = true; }, fill };
  },
  code: c => {
    const button = element("button", { type: "button", title: c.help, "data-name": c.name }, c.label), pre = element("pre", { tabindex: "0", "aria-label": "code" });
    const said = element("span", { role: "status" });
    const select = () => getSelection().selectAllChildren(pre);
    button.addEventListener("click", async () => {
      try { await navigator.clipboard.writeText(pre.textContent); said.textContent = "copied"; }
      catch { unfold.open = true; select(); said.textContent = document.execCommand("copy") ? "copied" : "selected: press Ctrl+C"; }
      setTimeout(() => { said.textContent = ""; }, 3000);
    });
    const unfold = element("details", { class: "ganlab-code" }, element("summary", {}, "code"), pre);
    return { node: element("span", { class: "ganlab-control ganlab-wide" }, button, said, unfold), write: text => { pre.textContent = text; } };
  },
};

function render({ model, el }) {
  const me = Math.random().toString(36).slice(2);
  const [touch, hangUp] = courier(model);
  const pictures = element("div", { class: "ganlab-pictures" });
  const note = element("p", { class: "ganlab-note", "aria-live": "polite" });
  const sentence = element("p", { class: "ganlab-sentence", id: `${me}-sentence` });
  const problem = element("p", { class: "ganlab-problem", role: "alert" });
  const quiet = element("p", { class: "ganlab-quiet", role: "status", "aria-live": "polite" });
  const [say, hush] = speaker(quiet);
  const made = {}, groups = {};
  for (const c of model.get("controls")) {
    made[c.name] = makers[c.kind](c, touch, `${me}-${c.name}`);
    groups[c.group] ??= element("div", { class: "ganlab-controls", role: "group", "aria-label": c.group, "aria-describedby": `${me}-sentence` });
    groups[c.group].append(made[c.name].node);
  }
  el.classList.add("ganlab");
  el.append(pictures, note, sentence, problem, ...Object.values(groups), quiet);
  for (const node of el.querySelectorAll("button, input, select")) node.dataset.lmSuppressShortcuts = "true";  // JupyterLab would take arrows and space

  const show = {
    pictures: () => {
      const all = model.get("pictures");
      while (pictures.children.length > all.length) pictures.lastChild.remove();
      all.forEach((bytes, i) => {
        const img = pictures.children[i] ?? pictures.appendChild(element("img"));
        const old = img.src;
        img.src = URL.createObjectURL(new Blob([bytes], { type: "image/png" }));
        if (old) URL.revokeObjectURL(old);
      });
      show.alts();
    },
    alts: () => [...pictures.children].forEach((img, i) => { img.alt = model.get("alts")[i] ?? ""; }),
    note: () => { note.textContent = model.get("note"); },
    sentence: () => { sentence.textContent = model.get("sentence"); say(model.get("sentence")); },
    problem: () => { problem.textContent = model.get("problem"); },
    thumbs: () => { for (const [name, all] of Object.entries(model.get("thumbs"))) made[name].fill(all); show.values(); },
    code: () => { for (const control of Object.values(made)) control.write?.(model.get("code")); },
    limits: () => { for (const [name, limits] of Object.entries(model.get("limits"))) made[name].limit(limits); show.values(); },
    values: () => {
      for (const [name, value] of Object.entries(model.get("values")))
        if (!made[name].input.matches(":active")) made[name].set(value);  // not out of the hand of somebody who drags it
    },
  };
  for (const [trait, update] of Object.entries(show)) { model.on(`change:${trait}`, update); update(); }
  const lookAway = reader(el, touch);
  return () => {
    hangUp(); lookAway(); hush();
    for (const img of el.querySelectorAll("img")) URL.revokeObjectURL(img.src);
    for (const [trait, update] of Object.entries(show)) model.off(`change:${trait}`, update);
  };
}

export default { render };
