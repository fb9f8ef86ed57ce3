// A game of points in the plane on a canvas. This file only draws what it is given; it knows nothing of networks.
//
// An ARRAY is {shape: [...], data} with float32 numbers, little-endian, last index fastest; `data` is bytes (a DataView)
// or, in a recording, the same bytes in base64.
// A SCENE stays the same during a game: {extent, arrow: [scale, longest], colors: {real, fake, generator}, real: ARRAY (n, 2)}.
// A FRAME is one moment: {step, fake: ARRAY (n, 2), push: ARRAY (n, 2), heat: ARRAY (cells, cells), manifold: ARRAY (rows, columns, 2), sentence}.
//   Positions are in [-extent, extent], y upwards. Heat is what D says, 0 fake to 1 real, top row first, at the middles of cells.
// A RECORDING is {scene, frames: [FRAME, ...]}: `draw` replays it without a kernel.
// As a widget: traits scene, frame, layers (names of what to show), alt, drawing (may the reader draw?).
//   Message sent: {drawn: [[x, y], ...]}, points of one stroke.

export function floats({ data }) {
  if (typeof data === "string") return new Float32Array(Uint8Array.from(atob(data), c => c.charCodeAt(0)).buffer);
  return new Float32Array(data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength));
}

const rgb = color => [1, 3, 5].map(i => parseInt(color.slice(i, i + 2), 16));

function drawHeat(pen, side, heat, cells, colors, paper) {
  const image = new ImageData(cells, cells), poles = [rgb(colors.fake), rgb(colors.real)];
  heat.forEach((says, i) => {
    const pole = poles[says > 0.5 ? 1 : 0], strength = 0.9 * Math.abs(says - 0.5);
    for (let k = 0; k < 3; k++) image.data[4 * i + k] = paper[k] + strength * (pole[k] - paper[k]);
    image.data[4 * i + 3] = 255;
  });
  const small = document.createElement("canvas");
  small.width = small.height = cells;
  small.getContext("2d").putImageData(image, 0, 0);
  pen.imageSmoothingEnabled = true;
  pen.drawImage(small, 0, 0, side, side);
}

// Where heat crosses one half: marching squares between the middles of cells.
function drawDecision(pen, side, heat, cells) {
  const at = i => (i + 0.5) / cells * side;
  pen.beginPath();
  for (let r = 0; r < cells - 1; r++) for (let c = 0; c < cells - 1; c++) {
    const corner = [[r, c], [r, c + 1], [r + 1, c + 1], [r + 1, c]], value = corner.map(([y, x]) => heat[y * cells + x] - 0.5), cross = [];
    for (let k = 0; k < 4; k++) {
      const a = value[k], b = value[(k + 1) % 4];
      if ((a > 0) === (b > 0)) continue;
      const t = a / (a - b), [y0, x0] = corner[k], [y1, x1] = corner[(k + 1) % 4];
      cross.push([at(x0 + t * (x1 - x0)), at(y0 + t * (y1 - y0))]);
    }
    for (let k = 0; k + 1 < cross.length; k += 2) { pen.moveTo(...cross[k]); pen.lineTo(...cross[k + 1]); }
  }
  pen.stroke();
}

export function draw(canvas, scene, frame, layers, { paper, ink }) {
  const pen = canvas.getContext("2d"), side = canvas.width, unit = side / (2 * scene.extent), dot = side / 160;
  const place = (array, i) => [(array[2 * i] + scene.extent) * unit, (scene.extent - array[2 * i + 1]) * unit];
  const on = name => layers.includes(name);
  const { real, fake, generator } = scene.colors;
  pen.fillStyle = `rgb(${paper})`;
  pen.fillRect(0, 0, side, side);
  pen.lineWidth = side / 300;
  if (frame && on("heat")) {
    const heat = floats(frame.heat), cells = frame.heat.shape[0];
    drawHeat(pen, side, heat, cells, scene.colors, paper);
    pen.strokeStyle = `rgb(${ink})`;
    drawDecision(pen, side, heat, cells);
  }
  if (frame && on("manifold")) {
    const net = floats(frame.manifold), [rows, columns] = frame.manifold.shape;
    pen.strokeStyle = generator;
    pen.beginPath();
    for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) {
      const here = place(net, r * columns + c);
      if (c) { pen.moveTo(...place(net, r * columns + c - 1)); pen.lineTo(...here); }
      if (r) { pen.moveTo(...place(net, (r - 1) * columns + c)); pen.lineTo(...here); }
    }
    pen.stroke();
  }
  if (on("real")) {
    const points = floats(scene.real);
    pen.fillStyle = real;
    for (let i = 0; i < points.length / 2; i++) { pen.beginPath(); pen.arc(...place(points, i), dot, 0, 7); pen.fill(); }
  }
  if (!frame) return;
  const fakes = floats(frame.fake);
  if (on("push")) {
    const push = floats(frame.push), [scale, longest] = scene.arrow;
    pen.strokeStyle = `rgb(${ink})`;
    pen.beginPath();
    for (let i = 0; i < push.length / 2; i++) {
      const [x, y] = [push[2 * i], push[2 * i + 1]], length = Math.hypot(x, y), k = unit * Math.min(scale, longest / Math.max(length, 1e-9));
      if (length * k < 1) continue;
      const [x0, y0] = place(fakes, i), [x1, y1] = [x0 + k * x, y0 - k * y], turn = Math.atan2(y1 - y0, x1 - x0), head = Math.min(1.6 * dot, 0.5 * length * k);
      pen.moveTo(x0, y0); pen.lineTo(x1, y1);
      for (const bend of [2.6, -2.6]) { pen.moveTo(x1, y1); pen.lineTo(x1 + head * Math.cos(turn + bend), y1 + head * Math.sin(turn + bend)); }
    }
    pen.stroke();
  }
  if (on("fake")) {
    pen.fillStyle = fake;
    for (let i = 0; i < fakes.length / 2; i++) {
      const [x, y] = place(fakes, i);
      pen.beginPath(); pen.moveTo(x, y - 1.4 * dot); pen.lineTo(x + 1.2 * dot, y + 0.8 * dot); pen.lineTo(x - 1.2 * dot, y + 0.8 * dot); pen.fill();
    }
  }
}

// Paper and ink of the page around `el`.
export function look(el) {
  for (let node = el; node; node = node.parentElement) {
    const [r, g, b, a = 1] = getComputedStyle(node).backgroundColor.match(/[\d.]+/g)?.map(Number) ?? [0, 0, 0, 0];
    if (a > 0) { const dark = 0.3 * r + 0.59 * g + 0.11 * b < 128; return { paper: [r, g, b], ink: dark ? [230, 230, 230] : [30, 30, 30] }; }
  }
  return { paper: [255, 255, 255], ink: [30, 30, 30] };
}

// Drawing by mouse, pen or finger: points along the stroke. By keyboard: arrows move a cross, space sets a point.
function surface(canvas, model, ink, repaint) {
  const extent = () => model.get("scene").extent ?? 1.6;
  let stroke = null;
  const cursor = { x: 0, y: 0, seen: false };
  const where = e => {
    const box = canvas.getBoundingClientRect();
    return [(2 * (e.clientX - box.left) / box.width - 1) * extent(), (1 - 2 * (e.clientY - box.top) / box.height) * extent()];
  };
  const send = points => model.send({ drawn: points.map(p => p.map(v => Math.round(v * 1000) / 1000)) });
  const extend = e => {
    const p = where(e), last = stroke[stroke.length - 1];
    if (!last || Math.hypot(p[0] - last[0], p[1] - last[1]) > 0.05) { stroke.push(p); ink.push(p); repaint(); }
  };
  const act = {
    pointerdown: e => { if (!model.get("drawing") || e.button) return; stroke = []; canvas.setPointerCapture(e.pointerId); extend(e); },
    pointermove: e => { if (stroke) extend(e); },
    pointerup: () => { if (stroke) send(stroke); stroke = null; },
    pointercancel: () => { if (stroke) ink.length -= stroke.length; stroke = null; repaint(); },
    keydown: e => {
      const step = e.shiftKey ? 0.2 : 0.05, move = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] }[e.key];
      if (!model.get("drawing") || !(move || e.key === " ")) return;
      e.preventDefault(); e.stopPropagation();
      cursor.seen = true;
      if (move) [cursor.x, cursor.y] = [cursor.x + move[0], cursor.y + move[1]].map(v => Math.max(-extent(), Math.min(extent(), v)));
      else { ink.push([cursor.x, cursor.y]); send([[cursor.x, cursor.y]]); }
      repaint();
    },
    blur: () => { cursor.seen = false; repaint(); },
  };
  for (const [event, f] of Object.entries(act)) canvas.addEventListener(event, f);
  return cursor;
}

function render({ model, el }) {
  const canvas = document.createElement("canvas"), ink = [];
  el.classList.add("ganlab", "ganlab-stage");
  canvas.dataset.lmSuppressShortcuts = "true";  // JupyterLab would take the arrow keys
  el.append(canvas);
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  let due = 0, timer = null;

  const paint = () => {
    timer = null;
    due = performance.now() + (still.matches ? 1000 : 0);
    const scene = model.get("scene"), frame = model.get("frame"), size = Math.round((canvas.clientWidth || 420) * (devicePixelRatio || 1));
    if (canvas.width !== size || canvas.height !== size) canvas.width = canvas.height = size;
    if (!scene.extent) return;
    draw(canvas, scene, frame.fake ? frame : null, model.get("layers"), look(el));
    const pen = canvas.getContext("2d"), at = ([x, y]) => [(x / scene.extent + 1) * size / 2, (1 - y / scene.extent) * size / 2];
    pen.fillStyle = pen.strokeStyle = scene.colors.real;
    for (const p of ink) { pen.beginPath(); pen.arc(...at(p), size / 160, 0, 7); pen.fill(); }
    if (cursor.seen) { const [x, y] = at([cursor.x, cursor.y]), r = size / 40; pen.beginPath(); pen.moveTo(x - r, y); pen.lineTo(x + r, y); pen.moveTo(x, y - r); pen.lineTo(x, y + r); pen.stroke(); }
  };
  const repaint = () => { timer ??= setTimeout(() => requestAnimationFrame(paint), Math.max(0, due - performance.now())); };
  const cursor = surface(canvas, model, ink, repaint);
  const describe = () => {
    const drawing = model.get("drawing");
    canvas.setAttribute("role", drawing ? "application" : "img");
    canvas.setAttribute("aria-label", (drawing ? "Draw points: drag with the mouse, or move the cross with the arrow keys and press space. " : "") + model.get("alt"));
    canvas.tabIndex = drawing ? 0 : -1;
    canvas.style.touchAction = drawing ? "none" : "auto";
    canvas.style.cursor = drawing ? "crosshair" : "default";
  };
  const change = { scene: () => { ink.length = 0; repaint(); }, frame: repaint, layers: repaint, alt: describe, drawing: describe };
  for (const [trait, f] of Object.entries(change)) model.on(`change:${trait}`, f);
  const size = new ResizeObserver(repaint), theme = new MutationObserver(() => setTimeout(repaint, 100));
  size.observe(canvas);
  theme.observe(document.body, { attributes: true });
  describe();
  repaint();
  return () => { size.disconnect(); theme.disconnect(); for (const [trait, f] of Object.entries(change)) model.off(`change:${trait}`, f); };
}

export default { render };
