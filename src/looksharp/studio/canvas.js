// The image to mark: rectangle, polygon and brush by mouse, pen, finger or keyboard; zoom. Strokes go to the server.
const TOOLS = { rectangle: ["Rectangle", "b"], polygon: ["Polygon", "g"], brush: ["Brush", "d"], move: ["Move", "m"] };
const CLOSE = 10; // screen pixels within which a click on the first corner closes a polygon
const NEAREST = 64; // times

export default {
  template: `
    <div class="marking">
      <div class="tools" role="group" aria-label="Tools">
        <button v-for="(facts, name) in tools" :key="name" type="button" :aria-pressed="String(tool === name)"
          :data-key="facts[1]" :title="facts[0] + ' (' + facts[1] + ')'" @click="choose(name)">{{ facts[0] }}</button>
        <span class="sizes" v-show="tool === 'brush'">
          <button type="button" data-key="[" aria-label="Smaller brush" title="Smaller brush ([)" @click="resize(0.8)">●−</button>
          <output aria-label="Brush radius">{{ radius.toFixed(radius < 10 ? 1 : 0) }} px</output>
          <button type="button" data-key="]" aria-label="Larger brush" title="Larger brush (])" @click="resize(1.25)">●+</button>
        </span>
        <span class="sizes">
          <button type="button" data-key="-" aria-label="Zoom out" title="Zoom out (-)" @click="zoom(0.8)">−</button>
          <output aria-label="Zoom">{{ Math.round(100 * magnified) }} %</output>
          <button type="button" data-key="+" aria-label="Zoom in" title="Zoom in (+)" @click="zoom(1.25)">+</button>
          <button type="button" data-key="0" aria-label="Whole image" title="Whole image (0)" @click="fit">Fit</button>
        </span>
      </div>
      <div ref="frame" class="frame" tabindex="0" role="application" :aria-label="label" :aria-describedby="helpId"
        @keydown="pressed" @focus="focused = true; draw()" @blur="focused = false; draw()">
        <canvas ref="canvas" @pointerdown="down" @pointermove="moved" @pointerup="up" @pointercancel="cancel" @pointerleave="leave"
          @dblclick.prevent="close" @wheel="wheel" @contextmenu.prevent></canvas>
      </div>
      <p :id="helpId" class="note">{{ help }}</p>
      <p class="hidden" role="status">{{ spoken }}</p>
    </div>
  `,
  props: {
    src: String, // the image
    marks: String, // what is marked, as a picture with transparency
    proposal: String, // what is proposed, likewise
    image: Number, // which one it is; strokes say it, since another one may be on its way
    size: Array, // width, height of the image in its own pixels
    label: String,
    revision: Number, // rises when the server has dealt with a stroke
  },
  data() {
    return {
      tools: TOOLS, tool: "rectangle", radius: 4, view: { scale: 1, x: 0, y: 0 }, least: 1, focused: false, spoken: "",
      helpId: `help-${Math.random().toString(36).slice(2)}`,
    };
  },
  computed: {
    magnified() {
      return this.view.scale / this.least;
    },
    help() {
      const first = "Arrow keys move the cross, with Shift by one pixel. ";
      const rest = {
        rectangle: "Space sets a corner, and the opposite one.",
        polygon: "Space sets a corner, Enter closes the polygon; so does a click on the first corner, or a double click.",
        brush: "Space puts the brush down, and lifts it.",
        move: "Drag the image, or use the arrow keys.",
      }[this.tool];
      return `${first}${rest} Escape gives up a stroke. Ctrl and the wheel zoom.`;
    },
  },
  watch: {
    src: "load",
    marks: "load",
    proposal: "load",
    size: "anew",
    revision() {
      this.pending = [];
      this.draw();
    },
  },
  created() {
    // Not reactive: they change with every movement.
    Object.assign(this, { pictures: {}, stroke: null, pending: [], cross: null, drag: null, hover: null });
  },
  mounted() {
    this.observer = new ResizeObserver(() => this.layout());
    this.observer.observe(this.$refs.frame);
    this.anew();
    this.load();
  },
  unmounted() {
    this.observer.disconnect();
  },
  methods: {
    bring() {
      this.$refs.frame.scrollIntoView({ block: "nearest" });
      this.$refs.frame.focus({ preventScroll: true });
    },
    anew() {
      this.stroke = null;
      this.pending = [];
      this.cross = null;
      this.radius = Math.max(0.5, Math.max(...this.size) / 24);
      this.layout(true);
    },
    load() {
      for (const name of ["src", "marks", "proposal"]) {
        const address = this[name] || "";
        if (this.pictures[name]?.address === address) continue;
        if (!address) {
          this.pictures[name] = { address, picture: null };
          continue;
        }
        const picture = new Image();
        const entry = (this.pictures[name] = { address, picture: name === "src" ? null : this.pictures[name]?.picture });
        picture.onload = () => {
          if (this.pictures[name] !== entry) return; // another one since
          entry.picture = picture;
          this.draw();
        };
        picture.src = address;
      }
      this.draw();
    },
    layout(whole = false) {
      const { frame, canvas } = this.$refs;
      if (!frame || !frame.clientWidth) return;
      const [width, height] = this.size;
      const across = frame.clientWidth;
      const down = Math.round(Math.min(Math.max((across * height) / width, 160), 0.6 * window.innerHeight));
      const sharp = window.devicePixelRatio || 1;
      canvas.style.height = `${down}px`;
      canvas.width = Math.round(across * sharp);
      canvas.height = Math.round(down * sharp);
      this.area = { across, down, sharp };
      const before = this.least;
      this.least = Math.min(across / width, down / height);
      if (whole || this.view.scale <= before) this.fit();
      else this.draw();
    },
    fit() {
      if (!this.area) return;
      const { across, down } = this.area;
      const scale = this.least;
      this.view = { scale, x: (across - scale * this.size[0]) / 2, y: (down - scale * this.size[1]) / 2 };
      this.draw();
    },
    zoom(factor, at) {
      if (!this.area) return;
      const { across, down } = this.area;
      const { x, y } = at || (this.cross && this.focused ? this.onScreen(this.cross) : { x: across / 2, y: down / 2 });
      const scale = Math.min(Math.max(this.view.scale * factor, this.least), this.least * NEAREST);
      const ratio = scale / this.view.scale;
      this.view = this.held({ scale, x: x - (x - this.view.x) * ratio, y: y - (y - this.view.y) * ratio });
      if (scale === this.least) this.fit();
      else this.draw();
    },
    held(view) {
      // Keeps a part of the image in sight.
      const within = (start, length, room) => Math.min(Math.max(start, Math.min(room - length, 0) - room / 2), Math.max(room - length, 0) + room / 2);
      const { across, down } = this.area;
      return { scale: view.scale, x: within(view.x, view.scale * this.size[0], across), y: within(view.y, view.scale * this.size[1], down) };
    },
    resize(factor) {
      this.radius = Math.min(Math.max(this.radius * factor, 0.5), Math.max(...this.size));
      this.draw();
    },
    choose(name) {
      this.tool = name;
      this.stroke = null;
      this.draw();
    },
    inImage(event) {
      const box = this.$refs.canvas.getBoundingClientRect();
      return [(event.clientX - box.left - this.view.x) / this.view.scale, (event.clientY - box.top - this.view.y) / this.view.scale];
    },
    onScreen([x, y]) {
      return { x: x * this.view.scale + this.view.x, y: y * this.view.scale + this.view.y };
    },
    down(event) {
      this.$refs.frame.focus({ preventScroll: true });
      if (event.button > 1) return;
      event.preventDefault();
      this.$refs.canvas.setPointerCapture(event.pointerId);
      this.cross = null;
      const point = this.inImage(event);
      if (this.tool === "move" || event.button === 1) {
        this.drag = { x: event.clientX, y: event.clientY };
      } else if (this.tool === "polygon") {
        this.corner(point);
      } else {
        this.stroke = { tool: this.tool, points: [point], drawn: true };
      }
      this.draw();
    },
    corner(point) {
      const points = this.stroke?.points;
      if (points && points.length > 2) {
        const [first, now] = [this.onScreen(points[0]), this.onScreen(point)];
        if (Math.hypot(first.x - now.x, first.y - now.y) <= CLOSE) return this.close();
      }
      if (points) points.push(point);
      else this.stroke = { tool: "polygon", points: [point] };
    },
    moved(event) {
      const point = this.inImage(event);
      this.hover = point;
      if (this.drag) {
        const { x, y } = this.drag;
        this.view = this.held({ ...this.view, x: this.view.x + event.clientX - x, y: this.view.y + event.clientY - y });
        this.drag = { x: event.clientX, y: event.clientY };
      } else if (this.stroke?.drawn) {
        this.extend(point);
      }
      this.draw();
    },
    extend(point) {
      const { tool, points } = this.stroke;
      if (tool === "rectangle") return (points[1] = point);
      const [x, y] = points[points.length - 1];
      if (Math.hypot(point[0] - x, point[1] - y) * this.view.scale >= 1) points.push(point);
    },
    up(event) {
      this.drag = null;
      if (!this.stroke?.drawn) return;
      this.extend(this.inImage(event));
      this.finish();
    },
    leave() {
      this.hover = null;
      this.draw();
    },
    cancel() {
      this.drag = null;
      if (this.stroke?.drawn) this.stroke = null;
      this.draw();
    },
    close() {
      if (this.stroke?.tool !== "polygon") return;
      const { points } = this.stroke; // a double click has set its corner twice
      this.stroke.points = points.filter((p, i) => !i || Math.hypot(p[0] - points[i - 1][0], p[1] - points[i - 1][1]) > 1e-6);
      if (this.stroke.points.length > 2) this.finish();
    },
    finish() {
      const { tool, points } = this.stroke;
      this.stroke = null;
      const far = points.length > 1 && Math.hypot(points[1][0] - points[0][0], points[1][1] - points[0][1]) * this.view.scale > 2;
      if (tool !== "rectangle" || far) {
        const radius = tool === "brush" ? this.radius : 0;
        this.pending.push({ tool, points, radius });
        this.$emit("stroke", { image: this.image, stroke: { tool, points, radius } });
      }
      this.draw();
    },
    wheel(event) {
      if (!event.ctrlKey && !event.metaKey) return; // the page scrolls
      event.preventDefault();
      const box = this.$refs.canvas.getBoundingClientRect();
      this.zoom(Math.exp(-event.deltaY / 300), { x: event.clientX - box.left, y: event.clientY - box.top });
    },
    pressed(event) {
      const step = event.shiftKey ? 1 : Math.max(1, Math.round(12 / this.view.scale));
      const towards = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
      const command = event.ctrlKey || event.metaKey;
      if (event.altKey || (command && event.key.toLowerCase() !== "z")) return;
      if (towards) this.step(towards, step);
      else if (event.key === " ") this.set();
      else if (event.key === "Enter" && this.stroke) this.enter();
      else if (event.key === "Escape" && this.stroke) this.give("Stroke given up");
      else if (command) this.$emit(event.shiftKey ? "redo" : "undo");
      else return;
      event.preventDefault();
      event.stopPropagation();
      this.draw();
    },
    step([x, y], step) {
      if (this.tool === "move") {
        this.view = this.held({ ...this.view, x: this.view.x - 40 * x, y: this.view.y - 40 * y });
        return;
      }
      const [width, height] = this.size;
      const from = this.cross || [Math.floor(width / 2), Math.floor(height / 2)];
      this.cross = [Math.min(Math.max(from[0] + x * step, 0), width), Math.min(Math.max(from[1] + y * step, 0), height)];
      if (this.stroke?.tool === "brush" && this.stroke.held) this.stroke.points.push(this.cross);
      if (this.stroke?.tool === "rectangle" && this.stroke.held) this.stroke.points[1] = this.cross;
      const { x: across, y: down } = this.onScreen(this.cross);
      if (across < 0 || down < 0 || across > this.area.across || down > this.area.down) {
        this.view = this.held({ ...this.view, x: this.view.x + this.area.across / 2 - across, y: this.view.y + this.area.down / 2 - down });
      }
      this.spoken = `x ${this.cross[0]}, y ${this.cross[1]} of ${width} × ${height}`;
    },
    set() {
      this.cross = this.cross || this.size.map((length) => Math.floor(length / 2));
      const at = `at x ${this.cross[0]}, y ${this.cross[1]}`;
      if (this.tool === "polygon") {
        this.corner(this.cross);
        this.spoken = this.stroke ? `Corner ${this.stroke.points.length} ${at}` : "Polygon closed";
      } else if (this.tool !== "move" && !this.stroke) {
        this.stroke = { tool: this.tool, points: [this.cross], held: true };
        this.spoken = this.tool === "brush" ? `Brush down ${at}` : `First corner ${at}`;
      } else if (this.stroke) {
        this.enter();
      }
    },
    enter() {
      if (this.stroke.tool === "polygon") return this.close();
      if (this.stroke.tool === "rectangle" && this.stroke.points.length < 2) return;
      this.spoken = this.stroke.tool === "brush" ? "Brush lifted" : "Rectangle drawn";
      this.finish();
    },
    give(said) {
      this.stroke = null;
      this.spoken = said;
    },
    draw() {
      if (this.drawing) return;
      this.drawing = requestAnimationFrame(() => {
        this.drawing = null;
        if (this.$refs.canvas && this.area) this.paint(this.$refs.canvas.getContext("2d"));
      });
    },
    paint(pen) {
      const { across, down, sharp } = this.area;
      const { scale, x, y } = this.view;
      const [width, height] = this.size;
      pen.setTransform(sharp, 0, 0, sharp, 0, 0);
      pen.clearRect(0, 0, across, down);
      pen.imageSmoothingEnabled = scale < 2;
      for (const name of ["src", "proposal", "marks"]) {
        const picture = this.pictures[name]?.picture;
        if (picture) pen.drawImage(picture, x, y, width * scale, height * scale);
      }
      pen.translate(x, y);
      pen.scale(scale, scale);
      for (const stroke of [...this.pending, ...(this.stroke ? [this.stroke] : [])]) this.trace(pen, stroke, scale);
      const at = this.focused && this.cross;
      if (at) this.line(pen, scale, () => {
        pen.moveTo(at[0], 0);
        pen.lineTo(at[0], height);
        pen.moveTo(0, at[1]);
        pen.lineTo(width, at[1]);
      });
      const brush = this.tool === "brush" && (at || this.hover);
      if (brush) this.line(pen, scale, () => pen.arc(brush[0], brush[1], this.radius, 0, 2 * Math.PI));
    },
    trace(pen, { tool, points, radius = this.radius }, scale) {
      if (tool === "brush") {
        pen.beginPath();
        points.forEach(([x, y], place) => (place ? pen.lineTo(x, y) : pen.moveTo(x, y)));
        if (points.length === 1) pen.lineTo(points[0][0] + 1e-3, points[0][1]);
        Object.assign(pen, { lineCap: "round", lineJoin: "round", lineWidth: 2 * radius, strokeStyle: "rgb(44 123 229 / .55)" });
        return pen.stroke();
      }
      if (tool === "rectangle" && points.length < 2) return;
      this.line(pen, scale, () => {
        const [[left, top], [right, bottom]] = tool === "rectangle" ? points : [[0, 0], [0, 0]];
        if (tool === "rectangle") return pen.rect(left, top, right - left, bottom - top);
        points.forEach(([x, y], place) => (place ? pen.lineTo(x, y) : pen.moveTo(x, y)));
        const next = this.stroke?.points === points && (this.cross || this.hover);
        if (next) pen.lineTo(...next);
        else pen.closePath();
      });
    },
    line(pen, scale, path) {
      // White on dark, so that it shows on any image.
      for (const [strokeStyle, wide] of [["#10202f", 4], ["#ffffff", 1.75]]) {
        pen.beginPath();
        path();
        Object.assign(pen, { strokeStyle, lineWidth: wide / scale });
        pen.stroke();
      }
    },
  },
};
