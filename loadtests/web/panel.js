// Buttons for the Faults tab: Locust's own tables have none. Shown only while that tab is open.
"use strict";
(() => {
  const EXAMPLES = [
    "refuse redis-cache for=30s",
    "blackhole redis-cache for=30s",
    "latency redis-cache delay_ms=300 for=30s",
    "refuse s3 for=30s",
    "latency postgres delay_ms=200 for=30s",
    "refuse postgres for=15s",
  ];
  const make = (tag, properties = {}) => Object.assign(document.createElement(tag), properties);

  const panel = make("form", { id: "chaos-panel", hidden: true });
  panel.style.cssText =
    "position:fixed;left:50%;bottom:24px;transform:translateX(-50%);z-index:9;display:none;gap:8px;" +
    "align-items:center;padding:12px 16px;border-radius:8px;background:#1b1f24;color:#fff;" +
    "font:14px system-ui;box-shadow:0 4px 24px #0006";
  const fault = make("input", { size: 44, value: EXAMPLES[0], ariaLabel: "fault to inject" });
  fault.setAttribute("list", "chaos-examples");
  const examples = make("datalist", { id: "chaos-examples" });
  EXAMPLES.forEach((value) => examples.append(make("option", { value })));
  const inject = make("button", { type: "submit", textContent: "Inject" });
  const heal = make("button", { type: "button", textContent: "Heal all" });
  const word = make("output");
  for (const part of [fault, inject, heal]) part.style.cssText = "font:inherit;padding:4px 8px";
  panel.append(fault, examples, inject, heal, word);

  async function send(route, body) {
    word.textContent = "…";
    inject.disabled = heal.disabled = true;
    try {
      const answer = await fetch(`chaos/${route}`, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify(body),
        signal: AbortSignal.timeout(35000),
      });
      const said = await answer.json();
      const left = (said.residue || []).join("; ");
      word.textContent = said.error || said.fault || (left ? `left over: ${left}` : "healed");
    } catch (error) {
      word.textContent = String(error);
    } finally {
      inject.disabled = heal.disabled = false;
    }
  }
  panel.addEventListener("submit", (event) => {
    event.preventDefault();
    send("inject", { fault: fault.value });
  });
  heal.addEventListener("click", () => send("heal", {}));

  document.body.append(panel);
  // Locust changes tabs without loading a page and tells nobody.
  setInterval(() => {
    const open = new URLSearchParams(location.search).get("tab") === "faults";
    panel.hidden = !open;
    panel.style.display = open ? "flex" : "none";
  }, 250);
})();
