"use strict";
// From the data in the page to pixels: decoding, colouring, and two painters with one interface,
// WebGL and, where there is none, the plain 2D canvas.

// A lens as far away as this many radii of the cloud; its unit sphere just fits the canvas.
const DISTANCE = 4;
const FOCAL = Math.sqrt(DISTANCE * DISTANCE - 1);
const NO_PART = 255;
const GREY = [150, 156, 166];
const PLAIN = [112, 150, 200];
const WRONG = [213, 94, 0];
// Stops of matplotlib's viridis.
const HEIGHT = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];

const bytesOf = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

/** The arrays of a cloud, decoded when they are first needed: most clouds are never opened. */
function decoded(cloud) {
  if (cloud.arrays) return cloud.arrays;
  const packed = new DataView(bytesOf(cloud.xyz).buffer);
  const xyz = new Float32Array(packed.byteLength / 2);
  for (let i = 0; i < xyz.length; i++) xyz[i] = packed.getInt16(2 * i, true) / 32767;
  let normals = null;
  if (cloud.normals) normals = Float32Array.from(new Int8Array(bytesOf(cloud.normals).buffer), (v) => v / 127);
  const [colours, part, predicted] = ["colours", "part", "predicted"].map((key) => cloud[key] && bytesOf(cloud[key]));
  return (cloud.arrays = { count: xyz.length / 3, xyz, normals, colours, part, predicted });
}

function heightColour(t) {
  const at = Math.min(Math.max(t, 0), 1) * (HEIGHT.length - 1);
  const low = Math.min(Math.floor(at), HEIGHT.length - 2);
  return HEIGHT[low].map((v, c) => v + (at - low) * (HEIGHT[low + 1][c] - v));
}

/** A function from the number of a point to [red, green, blue], 0-255. */
function colouring(arrays, mode, palette) {
  const { xyz, normals, colours, part, predicted } = arrays;
  const ofPart = (id) => palette[id] || GREY;
  if (mode === "part" && part) return (i) => ofPart(part[i]);
  if (mode === "predicted" && predicted) return (i) => ofPart(predicted[i]);
  if (mode === "errors" && part && predicted) return (i) => (part[i] === predicted[i] ? GREY : WRONG);
  if (mode === "own" && colours) return (i) => colours.subarray(3 * i, 3 * i + 3);
  if (mode === "normal" && normals) return (i) => [0, 1, 2].map((c) => 127.5 * (1 + normals[3 * i + c]));
  if (mode === "height") {
    let low = Infinity, high = -Infinity;
    for (let i = 1; i < xyz.length; i += 3) {
      low = Math.min(low, xyz[i]);
      high = Math.max(high, xyz[i]);
    }
    return (i) => heightColour((xyz[3 * i + 1] - low) / (high - low || 1));
  }
  return () => PLAIN;
}

/** A number for each point, by which the legend counts and hides them: of its part, or whether that
 * is wrong. */
function legendIds({ part, predicted }, mode) {
  if (mode === "errors" && part && predicted) return part.map((id, i) => Number(id !== predicted[i]));
  return mode === "predicted" ? predicted : part;
}

/** What a painter draws: the points that are not hidden, with their colours. */
function drawing(cloud, mode, palette, hidden = new Set()) {
  const arrays = decoded(cloud);
  const ids = legendIds(arrays, mode);
  const colour = colouring(arrays, mode, palette);
  const kept = [];
  for (let i = 0; i < arrays.count; i++) if (!ids || !hidden.has(ids[i])) kept.push(i);
  const out = {
    count: kept.length, xyz: new Float32Array(3 * kept.length),
    normals: arrays.normals && new Float32Array(3 * kept.length),
    colours: new Uint8Array(3 * kept.length),
    radius: 1.05 / Math.sqrt(arrays.count), // so that points of a surface just about close it
  };
  kept.forEach((from, to) => {
    out.xyz.set(arrays.xyz.subarray(3 * from, 3 * from + 3), 3 * to);
    if (out.normals) out.normals.set(arrays.normals.subarray(3 * from, 3 * from + 3), 3 * to);
    out.colours.set(colour(from), 3 * to);
  });
  return out;
}

const startView = () => ({ yaw: -0.6, pitch: 0.35, zoom: 0.94, x: 0, y: 0 });

/** Rows of the rotation, column by column as WebGL wants it: about the up axis, then towards us. */
function rotation({ yaw, pitch }) {
  const [cy, sy, cp, sp] = [Math.cos(yaw), Math.sin(yaw), Math.cos(pitch), Math.sin(pitch)];
  return [cy, sp * sy, -cp * sy, 0, cp, sp, sy, -sp * cy, cp * cy];
}

const VERTEX = `
attribute vec3 xyz, normal, colour;
uniform mat3 turn;
uniform vec4 lens;  // focal length over the aspect, across and down; shift on the screen
uniform vec2 disc;  // diameter of a point at distance 1 in pixels; 1 if there are normals
varying vec3 paint;
varying float shade;
void main() {
  vec3 p = turn * xyz;
  float depth = ${DISTANCE}.0 - p.z;
  gl_Position = vec4(lens.xy * p.xy + lens.zw * depth, -0.25 * p.z * depth, depth);
  gl_PointSize = max(disc.x / depth, 1.0);
  vec3 n = turn * normal;
  // Lit on both sides, which fade into each other: the sign of a normal is often unknown.
  float side = clamp(n.z / 0.25, -1.0, 1.0);
  float key = max(0.0, (side * dot(n, vec3(-0.45, 0.75, 0.48)) + 0.4) / 1.4);
  shade = disc.y > 0.5 ? 0.48 + 0.50 * key + 0.16 * abs(n.z) : 1.0 + 0.18 * p.z;
  paint = colour;
}`;

const FRAGMENT = `
precision mediump float;
varying vec3 paint;
varying float shade;
void main() {
  vec2 at = 2.0 * gl_PointCoord - 1.0;
  float r = length(at);
  if (r > 1.0) discard;
  gl_FragColor = vec4(min(paint * shade * (1.04 - 0.22 * r * r * r), 1.0), 1.0);
}`;

/** Draws with WebGL on a canvas of its own, and copies that; null where there is no WebGL. */
function webglPainter() {
  const own = document.createElement("canvas");
  const gl = own.getContext("webgl", { antialias: false, depth: true, premultipliedAlpha: true });
  if (!gl) return null;
  const program = gl.createProgram();
  for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS)) return null;
  gl.useProgram(program);
  gl.enable(gl.DEPTH_TEST);
  const buffers = {};
  let loaded = null; // the drawing that is in the buffers

  function attribute(name, values, type) {
    const place = gl.getAttribLocation(program, name);
    if (!values) return gl.disableVertexAttribArray(place);
    buffers[name] = buffers[name] || gl.createBuffer();
    gl.bindBuffer(gl.ARRAY_BUFFER, buffers[name]);
    gl.bufferData(gl.ARRAY_BUFFER, values, gl.STATIC_DRAW);
    gl.enableVertexAttribArray(place);
    gl.vertexAttribPointer(place, 3, type, type === gl.UNSIGNED_BYTE, 0, 0);
  }

  function paint(canvas, what, view, size) {
    const { width, height } = canvas;
    // Twice as fine on coarse screens: the edges of the points come out smooth.
    const fine = window.devicePixelRatio < 1.5 && width * height < 2e6 ? 2 : 1;
    if (own.width !== fine * width || own.height !== fine * height) [own.width, own.height] = [fine * width, fine * height];
    if (loaded !== what) {
      attribute("xyz", what.xyz, gl.FLOAT);
      attribute("normal", what.normals, gl.FLOAT);
      attribute("colour", what.colours, gl.UNSIGNED_BYTE);
      loaded = what;
    }
    const side = Math.min(width, height);
    const focal = FOCAL * view.zoom;
    const place = (name) => gl.getUniformLocation(program, name);
    gl.viewport(0, 0, own.width, own.height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    gl.uniformMatrix3fv(place("turn"), false, rotation(view));
    gl.uniform4f(place("lens"), (focal * side) / width, (focal * side) / height,
      (2 * view.x) / width, (-2 * view.y) / height);
    gl.uniform2f(place("disc"), fine * side * focal * what.radius * size, what.normals ? 1 : 0);
    gl.drawArrays(gl.POINTS, 0, what.count);
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, width, height);
    context.imageSmoothingQuality = "high";
    context.drawImage(own, 0, 0, width, height);
  }
  return { kind: "webgl", paint };
}

/** The same drawing with arcs on a 2D canvas, the furthest point first. */
function flatPainter() {
  function paint(canvas, what, view, size) {
    const { width, height } = canvas;
    const turn = rotation(view);
    const scale = (FOCAL * view.zoom * Math.min(width, height)) / 2;
    const rows = (v, i, r) => turn[r] * v[i] + turn[3 + r] * v[i + 1] + turn[6 + r] * v[i + 2];
    const near = new Float32Array(what.count);
    for (let i = 0; i < what.count; i++) near[i] = rows(what.xyz, 3 * i, 2);
    const order = Uint32Array.from(near.keys()).sort((a, b) => near[a] - near[b]);
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, width, height);
    for (const i of order) {
      const depth = DISTANCE - near[i];
      const column = width / 2 + view.x + (scale * rows(what.xyz, 3 * i, 0)) / depth;
      const row = height / 2 + view.y - (scale * rows(what.xyz, 3 * i, 1)) / depth;
      const radius = Math.max((scale * what.radius * size) / depth, 0.5);
      let shade = 1 + 0.18 * near[i];
      if (what.normals) {
        const n = [0, 1, 2].map((r) => rows(what.normals, 3 * i, r));
        const side = Math.min(Math.max(n[2] / 0.25, -1), 1);
        const key = side * (-0.45 * n[0] + 0.75 * n[1] + 0.48 * n[2]);
        shade = 0.48 + 0.5 * Math.max(0, (key + 0.4) / 1.4) + 0.16 * Math.abs(n[2]);
      }
      const [r, g, b] = what.colours.subarray(3 * i, 3 * i + 3);
      context.fillStyle = `rgb(${r * shade} ${g * shade} ${b * shade})`;
      context.beginPath();
      context.arc(column, row, radius, 0, 7);
      context.fill();
    }
  }
  return { kind: "2d", paint };
}
