// Atoms in three dimensions. It knows spheres, links, a cell and a camera, and nothing of barriers.
"use strict";

// A sphere is one square that always faces the camera; its pixels compute their own depth and
// shade. That is exact for a camera without perspective, and 30,000 of them are few triangles.
const SPHERE_VERTEX = `
  attribute vec3 center;
  attribute float radius;
  attribute vec4 paint;  // color, and whether the sphere is shown
  uniform float scale;
  varying vec2 offset;
  varying vec3 color;
  varying float depth;
  varying float reach;
  void main() {
    vec4 place = modelViewMatrix * vec4(center, 1.0);
    offset = position.xy;
    color = paint.rgb;
    depth = place.z;
    reach = radius * scale;
    place.xy += offset * reach;
    gl_Position = paint.a > 0.5 ? projectionMatrix * place : vec4(2.0, 2.0, 2.0, 1.0);
  }`;
const SPHERE_FRAGMENT = `
  uniform mat4 projectionMatrix;
  uniform vec3 background;
  uniform vec3 glow;  // of the rims, which sets dark spheres off a dark background
  uniform vec2 cue;  // depths between which spheres fade into the background
  varying vec2 offset;
  varying vec3 color;
  varying float depth;
  varying float reach;
  void main() {
    float square = dot(offset, offset);
    float edge = fwidth(square);
    float cover = 1.0 - smoothstep(1.0 - edge, 1.0, square);
    if (cover <= 0.0) discard;
    float height = sqrt(max(0.0, 1.0 - square));
    vec3 normal = vec3(offset, height);
    float light = 0.52 + 0.48 * max(0.0, dot(normal, normalize(vec3(-0.35, 0.55, 0.76))));
    float gloss = pow(max(0.0, dot(normal, normalize(vec3(-0.2, 0.35, 0.91)))), 40.0);
    float rim = smoothstep(0.0, 0.42, height);
    vec3 shade = color * light * mix(0.45, 1.0, rim) + 0.16 * gloss;
    shade = mix(shade, glow, 0.5 * (1.0 - rim));
    float z = depth + height * reach;
    float far = clamp((cue.x - z) / (cue.x - cue.y), 0.0, 1.0);
    gl_FragColor = vec4(mix(shade, background, 0.62 * far * far), cover);
    vec4 clip = projectionMatrix * vec4(0.0, 0.0, z, 1.0);
    gl_FragDepth = 0.5 * clip.z / clip.w + 0.5;
  }`;
const RING_FRAGMENT = `
  uniform vec3 accent;
  varying vec2 offset;
  void main() {
    float distance = length(offset);
    float edge = fwidth(distance);
    float cover = smoothstep(0.80 - edge, 0.80, distance) * (1.0 - smoothstep(1.0 - edge, 1.0, distance));
    if (cover <= 0.0) discard;
    float outer = smoothstep(0.86 - edge, 0.86 + edge, distance);
    gl_FragColor = vec4(mix(vec3(0.05), accent, outer), cover);  // a dark line, seen on light atoms
  }`;
const SQUARE = new Float32Array([-1, -1, 0, 1, -1, 0, 1, 1, 0, -1, 1, 0]);

/** Spheres that are drawn in one call. `numbers` are what a pick of them answers. */
class Spheres {
  constructor(positions, radii, numbers, material) {
    this.count = radii.length;
    this.positions = positions;
    this.radii = radii;
    this.numbers = numbers;
    this.paint = new Uint8Array(4 * this.count).fill(255);
    const geometry = new THREE.InstancedBufferGeometry();
    geometry.setAttribute("position", new THREE.BufferAttribute(SQUARE, 3));
    geometry.setIndex([0, 1, 2, 0, 2, 3]);
    geometry.setAttribute("center", new THREE.InstancedBufferAttribute(positions, 3));
    geometry.setAttribute("radius", new THREE.InstancedBufferAttribute(radii, 1));
    geometry.setAttribute("paint", new THREE.InstancedBufferAttribute(this.paint, 4, true));
    geometry.instanceCount = this.count;
    this.mesh = new THREE.Mesh(geometry, material);
    this.mesh.frustumCulled = false;
  }

  /** @param colors RGB bytes of each sphere. */
  color(colors) {
    for (let i = 0; i < this.count; i++) {
      this.paint[4 * i] = colors[3 * i];
      this.paint[4 * i + 1] = colors[3 * i + 1];
      this.paint[4 * i + 2] = colors[3 * i + 2];
    }
    this.mesh.geometry.attributes.paint.needsUpdate = true;
  }

  /** @param mask 1 for spheres to show, 0 for others. */
  show(mask) {
    for (let i = 0; i < this.count; i++) this.paint[4 * i + 3] = 255 * mask[i];
    this.mesh.geometry.attributes.paint.needsUpdate = true;
  }

  /** The shown sphere that is nearest to the camera on a line of sight; -1 where there is none.
   * @param m elements of the matrix from world to camera; x, y: the line, in the camera's frame. */
  hit(m, x, y, scale) {
    const { positions, radii, paint } = this;
    let best = -1;
    let nearest = -Infinity;
    for (let i = 0; i < this.count; i++) {
      if (paint[4 * i + 3] === 0) continue;
      const a = positions[3 * i], b = positions[3 * i + 1], c = positions[3 * i + 2];
      const dx = m[0] * a + m[4] * b + m[8] * c + m[12] - x;
      const dy = m[1] * a + m[5] * b + m[9] * c + m[13] - y;
      const under = (scale * radii[i]) ** 2 - dx * dx - dy * dy;
      if (under < 0) continue;
      const depth = m[2] * a + m[6] * b + m[10] * c + m[14] + Math.sqrt(under);
      if (depth > nearest) {
        nearest = depth;
        best = i;
      }
    }
    return best;
  }
}

class GlassView {
  /** Throws where the browser has no WebGL.
   * @param cell three vectors, or null; onPick and onHover get a number or -1. */
  constructor(canvas, { positions, radii, cell, onPick, onHover }) {
    this.canvas = canvas;
    this.renderer = new THREE.WebGLRenderer({ canvas, antialias: true, preserveDrawingBuffer: false });
    this.scene = new THREE.Scene();
    this.camera = new THREE.OrthographicCamera(-1, 1, 1, -1, 0, 1);
    this.camera.up.set(0, 0, 1);
    this.background = new THREE.Color();
    this.uniforms = {
      scale: { value: 1 },
      background: { value: this.background },
      glow: { value: new THREE.Color() },
      cue: { value: new THREE.Vector2() },
      accent: { value: new THREE.Color("#00c2a8").convertLinearToSRGB() },
    };
    this.sphereMaterial = new THREE.ShaderMaterial({
      uniforms: this.uniforms, vertexShader: SPHERE_VERTEX, fragmentShader: SPHERE_FRAGMENT, alphaToCoverage: true,
    });
    this.glass = new Spheres(positions, radii, Uint32Array.from(radii, (_, i) => i), this.sphereMaterial);
    this.scene.add(this.glass.mesh);
    this.near = null; // spheres of the surroundings of one atom, when only those are shown
    this.links = null;
    this.mark = this.#ring();
    this.hovered = this.#ring();
    this.scene.add(new THREE.HemisphereLight(0xffffff, 0x8a8a94, 2.4));
    const sun = new THREE.DirectionalLight(0xffffff, 1.6);
    sun.position.set(-0.35, 0.55, 0.76);
    this.camera.add(sun);
    this.scene.add(this.camera);
    if (cell) this.scene.add((this.box = outline(cell)));
    this.#measure(positions, cell);
    this.controls = new THREE.OrbitControls(this.camera, canvas);
    this.controls.zoomToCursor = true;
    this.controls.addEventListener("change", () => this.draw());
    this.#listen(onPick, onHover);
    this.reset();
    new ResizeObserver(() => this.#resize()).observe(canvas);
    this.#resize();
  }

  // --- what is drawn -------------------------------------------------------------------------

  get active() {
    return this.near ?? this.glass;
  }

  /** Draw once, at the next frame of the screen. */
  draw() {
    this.pending ??= requestAnimationFrame(() => {
      this.pending = null;
      this.drawNow();
    });
  }

  drawNow() {
    const middle = this.center.clone().applyMatrix4(this.camera.matrixWorldInverse).z;
    const half = this.near ? this.nearRadius : this.radius;
    this.uniforms.cue.value.set(middle + 0.55 * half, middle - half);
    this.renderer.render(this.scene, this.camera);
  }

  theme(background, line, glow) {
    // The spheres' shader works on screen colors.
    this.background.setStyle(background).convertLinearToSRGB();
    this.uniforms.glow.value.setStyle(glow).convertLinearToSRGB();
    this.renderer.setClearColor(new THREE.Color().setStyle(background));
    this.box?.material.color.setStyle(line);
    this.draw();
  }

  scale(factor) {
    this.uniforms.scale.value = factor;
    this.draw();
  }

  /** Ring around a sphere: `mark` for the picked atom, `hovered` for the one under the pointer. */
  ring(which, position, radius) {
    const { center, radius: size } = which.geometry.attributes;
    which.visible = position !== null;
    if (position) {
      center.set(position);
      size.set([radius * 1.22]);
      center.needsUpdate = size.needsUpdate = true;
    }
    this.draw();
  }

  /** Show the surroundings of a place instead of the glass; null shows the glass again.
   * The camera moves to another place only, not when more or less of the same one is shown.
   * @param spheres {positions, radii, numbers, colors}; links: [{from, to, color, width}]. */
  surround(spheres, links, center, radius) {
    const elsewhere = !spheres || !this.near || this.center.distanceTo(new THREE.Vector3(...center)) > 1e-3;
    for (const old of [this.near?.mesh, this.links]) {
      if (!old) continue;
      this.scene.remove(old);
      old.geometry.dispose();
      if (old === this.links) old.dispose();
    }
    this.near = this.links = null;
    this.glass.mesh.visible = spheres === null;
    if (this.box) this.box.visible = spheres === null;
    if (spheres) {
      this.near = new Spheres(spheres.positions, spheres.radii, spheres.numbers, this.sphereMaterial);
      this.near.color(spheres.colors);
      this.scene.add(this.near.mesh);
      this.links = tapered(links);
      this.scene.add(this.links);
      this.nearRadius = radius;
    }
    if (!elsewhere) this.draw();
    else if (spheres) this.lookAt(new THREE.Vector3(...center), radius);
    else this.lookAt(this.middle, this.radius);
  }

  // --- camera --------------------------------------------------------------------------------

  /** Keep the direction of view; put a sphere of this radius into the middle of the picture. */
  lookAt(center, radius) {
    const direction = this.camera.position.clone().sub(this.controls.target).normalize();
    this.center = center.clone();
    this.controls.target.copy(center);
    this.camera.position.copy(center).addScaledVector(direction, 4 * this.radius);
    this.camera.zoom = (1.12 * this.radius) / radius;
    this.camera.updateProjectionMatrix();
    this.controls.update();
    this.camera.updateMatrixWorld();
    this.draw();
  }

  reset() {
    this.camera.position.copy(this.middle).add(new THREE.Vector3(0.55, -1, 0.42));
    this.controls.target.copy(this.middle);
    if (this.near) this.lookAt(this.center, this.nearRadius);
    else this.lookAt(this.middle, this.radius);
  }

  zoom(factor) {
    this.camera.zoom *= factor;
    this.camera.updateProjectionMatrix();
    this.draw();
  }

  turn(left, up) {
    this.controls.rotateLeft(left);
    this.controls.rotateUp(up);
    this.controls.update();
  }

  // --- picking -------------------------------------------------------------------------------

  /** The sphere under a place of the page: its index among the active spheres, or -1. */
  hit(clientX, clientY) {
    const { left, top, width, height } = this.canvas.getBoundingClientRect();
    const { camera } = this;
    const x = (((clientX - left) / width - 0.5) * (camera.right - camera.left)) / camera.zoom;
    const y = ((0.5 - (clientY - top) / height) * (camera.top - camera.bottom)) / camera.zoom;
    return this.active.hit(camera.matrixWorldInverse.elements, x, y, this.uniforms.scale.value);
  }

  /** Where on the page a point of the structure is drawn. */
  project(position) {
    const { left, top, width, height } = this.canvas.getBoundingClientRect();
    const place = new THREE.Vector3(...position).project(this.camera);
    return [left + (0.5 + place.x / 2) * width, top + (0.5 - place.y / 2) * height];
  }

  /** PNG of the present picture, given to `use`. */
  picture(use) {
    this.drawNow();
    this.canvas.toBlob(use);
  }

  // --- setup ---------------------------------------------------------------------------------

  #ring() {
    const spheres = new Spheres(
      new Float32Array(3), new Float32Array(1), [0],
      new THREE.ShaderMaterial({
        uniforms: this.uniforms, vertexShader: SPHERE_VERTEX, fragmentShader: RING_FRAGMENT,
        transparent: true, depthTest: false,
      }),
    );
    spheres.mesh.visible = false;
    spheres.mesh.renderOrder = 1;
    this.scene.add(spheres.mesh);
    return spheres.mesh;
  }

  #measure(positions, cell) {
    const points = cell ? corners(cell) : positions;
    const low = [Infinity, Infinity, Infinity];
    const high = [-Infinity, -Infinity, -Infinity];
    for (let i = 0; i < points.length; i++) {
      low[i % 3] = Math.min(low[i % 3], points[i]);
      high[i % 3] = Math.max(high[i % 3], points[i]);
    }
    const [a, b] = [new THREE.Vector3(...low), new THREE.Vector3(...high)];
    this.middle = a.clone().add(b).multiplyScalar(0.5);
    this.radius = Math.max(3, 0.5 * a.distanceTo(b));
    this.center = this.middle.clone();
  }

  #resize() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (!width || !height) return;
    this.renderer.setPixelRatio(Math.min(2, devicePixelRatio));
    this.renderer.setSize(width, height, false);
    const half = this.radius * 1.04;
    const [x, y] = width < height ? [half, (half * height) / width] : [(half * width) / height, half];
    Object.assign(this.camera, { left: -x, right: x, top: y, bottom: -y, near: 0, far: 12 * this.radius });
    this.camera.updateProjectionMatrix();
    this.draw();
  }

  #listen(onPick, onHover) {
    let down = null;
    let moved = null;
    this.canvas.addEventListener("pointerdown", (event) => {
      down = event.isPrimary ? event : null;
      onHover(-1);
    });
    this.canvas.addEventListener("pointerup", (event) => {
      const still = down && Math.hypot(event.clientX - down.clientX, event.clientY - down.clientY) < 6;
      if (still && event.button === 0) onPick(this.hit(event.clientX, event.clientY), event);
      down = null;
    });
    this.canvas.addEventListener("pointermove", (event) => {
      if (event.pointerType === "touch" || event.buttons) return;
      const waiting = moved !== null;
      moved = event;
      if (waiting) return;
      requestAnimationFrame(() => {
        if (moved) onHover(this.hit(moved.clientX, moved.clientY), moved);
        moved = null;
      });
    });
    this.canvas.addEventListener("pointerleave", (event) => {
      moved = null;
      if (event.pointerType !== "touch") onHover(-1); // a finger leaves whenever it is lifted
    });
  }
}

function corners(cell) {
  const points = [];
  for (const i of [0, 1]) for (const j of [0, 1]) for (const k of [0, 1]) {
    for (let x = 0; x < 3; x++) points.push(i * cell[0][x] + j * cell[1][x] + k * cell[2][x]);
  }
  return points;
}

/** The twelve edges of a cell. */
function outline(cell) {
  const points = corners(cell);
  const lines = [];
  for (let one = 0; one < 8; one++) {
    for (const bit of [1, 2, 4]) {
      if (one & bit) continue;
      lines.push(...points.slice(3 * one, 3 * one + 3), ...points.slice(3 * (one | bit), 3 * (one | bit) + 3));
    }
  }
  const geometry = new THREE.BufferGeometry();
  geometry.setAttribute("position", new THREE.BufferAttribute(new Float32Array(lines), 3));
  return new THREE.LineSegments(geometry, new THREE.LineBasicMaterial());
}

/** Links as round rods, thick where a message starts (`from`) and thin where it arrives (`to`). */
function tapered(links) {
  const geometry = new THREE.CylinderGeometry(0.35, 1, 1, 10, 1);
  const rods = new THREE.InstancedMesh(geometry, new THREE.MeshLambertMaterial(), links.length);
  const [matrix, turn, up] = [new THREE.Matrix4(), new THREE.Quaternion(), new THREE.Vector3(0, 1, 0)];
  links.forEach(({ from, to, color, width }, i) => {
    const [a, b] = [new THREE.Vector3(...from), new THREE.Vector3(...to)];
    const along = b.clone().sub(a);
    const length = along.length();
    turn.setFromUnitVectors(up, along.normalize());
    matrix.compose(a.add(b).multiplyScalar(0.5), turn, new THREE.Vector3(width, length, width));
    rods.setMatrixAt(i, matrix);
    rods.setColorAt(i, new THREE.Color().setStyle(color));
  });
  rods.frustumCulled = false;
  return rods;
}
