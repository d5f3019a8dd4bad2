"use strict";
(() => {
  const NARROW = 560; // pixels of a plot below which its names give way to numbers
  const PRINTED = { full: 660, small: 318 }; // pixels that fit A4 and Letter
  const isTouch = matchMedia("(pointer: coarse)").matches;
  const plots = [...document.querySelectorAll(".plot")];
  const config = {
    responsive: true,
    displaylogo: false,
    displayModeBar: isTouch ? false : "hover",
    scrollZoom: false,
    modeBarButtons: [["toImage", "zoom2d", "pan2d", "autoScale2d", "resetScale2d"]],
  };

  function put(target, path, value) {
    const keys = path.split(".");
    const last = keys.pop();
    for (const key of keys) target = target[key] ??= {};
    target[last] = value;
  }

  /** Runs the library that stands on the page as text: compiling it takes a second, reading none. */
  function loadPlotly() {
    if (window.Plotly) return;
    const script = document.createElement("script");
    script.textContent = document.getElementById("plotly").textContent;
    document.body.append(script);
  }

  function draw(plot) {
    if (plot.dataset.drawn) return;
    loadPlotly();
    plot.dataset.drawn = "yes";
    const { data, layout, narrow } = JSON.parse(plot.nextElementSibling.textContent);
    if (plot.clientWidth < NARROW)
      for (const [path, value] of Object.entries(narrow)) put(layout, path, value);
    layout.dragmode = isTouch ? false : "zoom"; // a finger scrolls the page
    Plotly.newPlot(plot, data, layout, config);
  }

  const near = new IntersectionObserver((entries) => {
    for (const entry of entries)
      if (entry.isIntersecting) {
        near.unobserve(entry.target);
        draw(entry.target);
      }
  }, { rootMargin: "300px" });
  addEventListener("load", () => setTimeout(() => plots.forEach((plot) => near.observe(plot))));

  addEventListener("beforeprint", () => {
    for (const plot of plots) {
      draw(plot);
      const width = plot.closest(".figures") ? PRINTED.small : PRINTED.full;
      Plotly.relayout(plot, { width, autosize: false });
    }
  });
  addEventListener("afterprint", () => {
    for (const plot of plots) Plotly.relayout(plot, { width: null, autosize: true });
  });

  const links = new Map([...document.querySelectorAll("nav a")].map((a) => [a.hash.slice(1), a]));
  const reading = new IntersectionObserver((entries) => {
    for (const entry of entries)
      links.get(entry.target.id)?.classList.toggle("here", entry.isIntersecting);
  }, { rootMargin: "-20% 0px -75% 0px" });
  for (const section of document.querySelectorAll("section")) reading.observe(section);

  function keyOf(row, index) {
    const cell = row.cells[index];
    return cell.dataset.sort ?? cell.textContent;
  }

  /** Numbers by size before text by the alphabet; what is empty comes last, whichever way. */
  function comparing(index, sign) {
    const texts = new Intl.Collator(undefined, { numeric: true });
    return ([a], [b]) => {
      if (a === "" || b === "") return (a === "") - (b === "");
      const x = Number(a), y = Number(b);
      if (!Number.isNaN(x) && !Number.isNaN(y)) return sign * (x - y);
      return sign * texts.compare(a, b);
    };
  }

  for (const box of document.querySelectorAll(".table")) {
    const body = box.querySelector("tbody");
    const heads = [...box.querySelectorAll("th")];
    const filter = box.querySelector("input");
    const count = box.querySelector(".count");
    const all = box.querySelector(".all");
    const { first, printed } = box.dataset;

    heads.forEach((head, index) => head.querySelector("button").addEventListener("click", () => {
      const order = head.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", order);
      const rows = [...body.rows].map((row) => [keyOf(row, index), row]);
      rows.sort(comparing(index, order === "ascending" ? 1 : -1));
      rows.forEach(([, row], place) => {
        row.classList.toggle("more", place >= first);
        row.classList.toggle("rest", place >= printed);
      });
      body.append(...rows.map(([, row]) => row));
    }));

    all?.addEventListener("click", () => {
      const isOpen = box.classList.toggle("open");
      all.textContent = isOpen ? `Show the first ${first}` : `Show all ${body.rows.length}`;
    });

    filter?.addEventListener("input", () => {
      const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
      let matching = 0;
      for (const row of body.rows) {
        const text = words.length ? row.textContent.toLowerCase() : "";
        const isOut = !words.every((word) => text.includes(word));
        row.classList.toggle("out", isOut);
        matching += !isOut;
      }
      box.classList.toggle("filtered", words.length > 0);
      count.textContent = words.length ? `${matching} of ${body.rows.length}` : "";
    });
  }
})();
