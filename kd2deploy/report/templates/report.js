"use strict";
(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const config = { responsive: true, displayModeBar: false, scrollZoom: false };

  // Colours are CSS variables, so that one style sheet holds them for light, dark and print.
  const resolved = (value, style) => {
    if (typeof value === "string") {
      const name = /^var\((--[a-z-]+)\)$/.exec(value);
      return name ? style.getPropertyValue(name[1]).trim() : value;
    }
    if (Array.isArray(value)) return value.map((one) => resolved(one, style));
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, resolved(one, style)]));
    }
    return value;
  };

  const draw = () => {
    const style = getComputedStyle(document.documentElement);
    return Promise.all(
      Object.entries(figures).map(([key, figure]) => {
        const { data, layout } = resolved(figure, style);
        return Plotly.react(document.getElementById(key), data, layout, config);
      }),
    );
  };

  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  window.addEventListener("beforeprint", () => {
    document.documentElement.dataset.theme = "light";
    document.querySelectorAll("details").forEach((one) => one.setAttribute("open", ""));
    draw();
  });
  window.addEventListener("afterprint", () => {
    delete document.documentElement.dataset.theme;
    draw();
  });
  draw().then(() => document.documentElement.setAttribute("data-drawn", String(Object.keys(figures).length)));
})();
