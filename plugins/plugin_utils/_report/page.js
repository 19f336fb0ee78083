/* Copyright (c) 2026, vmops maintainers
 * GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * The list of VMs: search, filters, order, details. Texts enter the page as text only. Rows are made as they are needed. */
"use strict";
(() => {
  const BATCH = 100; // rows made at once
  const data = JSON.parse(document.getElementById("data").textContent);
  const at = Object.fromEntries(data.columns.map((name, place) => [name, place]));
  const made = Date.parse(data.made_at);
  const $ = (id) => document.getElementById(id);
  const WORDS = { attention: "attention", waiting: "waiting", found: "address", off: "off", not_recorded: "not recorded" };
  const ORDER = Object.keys(WORDS);
  const CHECK_WORDS = { ok: "ok", warning: "warning", failed: "failed", unknown: "cannot tell" };
  const COLUMNS = [
    { head: "State", key: "status" },
    { head: "VM", key: "vm" },
    { head: "Hypervisor", key: "hypervisor" },
    { head: "Power", key: "power" },
    { head: "NIC", key: "nic" },
    { head: "MAC", key: "mac" },
    { head: "Network", key: "network" },
    { head: "Address", key: "address" },
    { head: "Source", key: "source" },
    { head: "Seen", key: "seen" },
    { head: "Reason", key: "reason" },
  ];
  const SEARCHED = ["vm", "hypervisor", "mac", "network", "address", "ip6", "reason", "previous", "vm_id"].map((key) => at[key]);
  const FILTERS = ["status", "hypervisor", "network", "power", "reason"];
  const texts = data.rows.map((row) => SEARCHED.map((place) => row[place] || "").join("\n").toLowerCase());
  let shown = []; // places in data.rows, filtered and in order
  let drawn = 0;
  let sort = { key: null, down: false };

  const make = (tag, className, text) => {
    const element = document.createElement(tag);
    if (className) element.className = className;
    if (text !== undefined && text !== null) element.textContent = text;
    return element;
  };
  const isolated = (text) => make("bdi", "", text);

  const age = (moment) => {
    const seconds = Math.max(0, (made - Date.parse(moment)) / 1000);
    if (Number.isNaN(seconds)) return moment;
    if (seconds < 120) return `${Math.round(seconds)} s`;
    if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
    if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
    return `${Math.round(seconds / 86400)} d`;
  };
  const time = (moment) => {
    const element = make("time", "", age(moment));
    element.dateTime = moment;
    element.title = moment;
    return element;
  };

  // -- what is shown ----------------------------------------------------------------------------------------------
  const compare = (key, down) => {
    const place = at[key];
    const number = (text) => (/^\d+\.\d+\.\d+\.\d+$/.test(text) ? text.split(".").reduce((sum, part) => sum * 256 + Number(part), 0) : null);
    return (left, right) => {
      let one = data.rows[left][place], other = data.rows[right][place];
      if (one === null || one === "") return other === null || other === "" ? left - right : 1; // nothing comes last
      if (other === null || other === "") return -1;
      if (key === "status") [one, other] = [ORDER.indexOf(one), ORDER.indexOf(other)];
      if (key === "address") [one, other] = [number(one) ?? one, number(other) ?? other];
      const order = typeof one === "number" && typeof other === "number" ? one - other : String(one) < String(other) ? -1 : String(one) > String(other) ? 1 : 0;
      return (down ? -order : order) || left - right;
    };
  };

  const choose = () => {
    const words = $("q").value.toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = FILTERS.map((key) => [at[key], $("f-" + key).value]).filter(([, value]) => value);
    shown = [];
    for (let place = 0; place < data.rows.length; place += 1) {
      const row = data.rows[place];
      if (wanted.every(([column, value]) => row[column] === value) && words.every((word) => texts[place].includes(word))) shown.push(place);
    }
    if (sort.key) shown.sort(compare(sort.key, sort.down));
    const vms = new Set(shown.map((place) => data.rows[place][at.hypervisor] + "\n" + data.rows[place][at.vm_id])).size;
    $("told").textContent = shown.length === data.rows.length ? `${vms} VMs, ${shown.length} NICs` : `${vms} VMs, ${shown.length} of ${data.rows.length} NICs`;
    $("rows").textContent = "";
    $("table").setAttribute("aria-rowcount", String(shown.length + 1));
    drawn = 0;
    draw(BATCH);
    remember();
  };

  const draw = (count) => {
    const fragment = document.createDocumentFragment();
    const end = Math.min(shown.length, drawn + count);
    for (; drawn < end; drawn += 1) fragment.append(rowOf(shown[drawn], drawn));
    $("rows").append(fragment);
    $("more").hidden = drawn >= shown.length;
    $("all").textContent = `Show all ${shown.length} rows (${drawn} are shown; more appear as you scroll)`;
  };

  // -- a row ------------------------------------------------------------------------------------------------------
  const rowOf = (place, position) => {
    const row = data.rows[place];
    const line = make("tr");
    line.setAttribute("aria-rowindex", String(position + 2));
    const cell = (className, child) => {
      const element = make("td", className);
      if (child !== null && child !== undefined) element.append(child);
      line.append(element);
      return element;
    };
    cell("nowrap", make("span", `pill ${row[at.status]}`, WORDS[row[at.status]]));
    const head = make("th");
    head.scope = "row";
    const open = make("button", "open");
    open.type = "button";
    open.append(isolated(row[at.vm]));
    open.setAttribute("aria-expanded", "false");
    open.addEventListener("click", () => toggle(open, line, row));
    head.append(open);
    line.append(head);
    cell("text", isolated(row[at.hypervisor]));
    cell("nowrap", row[at.power]);
    cell("number", row[at.nic] === null ? null : String(row[at.nic]));
    cell("mono nowrap", row[at.mac]);
    cell("text", row[at.network] === null ? null : isolated(row[at.network]));
    const address = cell("mono nowrap", row[at.address]);
    if (!row[at.address] && row[at.ip6]) address.append(make("span", "why", row[at.ip6].split(" ")[0]));
    cell("nowrap", row[at.source]);
    cell("nowrap", row[at.seen] ? time(row[at.seen]) : null);
    cell("text", row[at.reason]);
    return line;
  };

  const toggle = (button, line, row) => {
    const opened = button.getAttribute("aria-expanded") === "true";
    button.setAttribute("aria-expanded", String(!opened));
    if (opened) {
      line.nextElementSibling.remove();
      return;
    }
    const detail = make("tr", "detail");
    const cell = make("td");
    cell.colSpan = COLUMNS.length;
    const facts = make("dl", "facts");
    const fact = (name, value) => {
      if (value === null || value === "" || value === undefined) return;
      const told = make("dd");
      told.append(value instanceof Node ? value : isolated(String(value)));
      facts.append(make("dt", "", name), told);
    };
    const ago = (moment) => moment && `${moment.replace("T", " ").replace("Z", " UTC")}, ${age(moment)} before this page`;
    fact("Why", row[at.message]);
    fact("In the record", row[at.state] && `${row[at.state]}${row[at.state] === "pending" ? `, ${row[at.tries_left]} tries left` : ""}`);
    fact("Last look", ago(row[at.last_try]));
    fact("First seen", ago(row[at.first_seen]));
    fact("Last seen", ago(row[at.seen]));
    fact("IPv6", row[at.ip6]);
    fact("Address before", row[at.previous]);
    fact("Id", row[at.vm_id]);
    cell.append(facts);
    const found = data.diagnosis[row[at.hypervisor] + "\n" + row[at.vm_id]];
    if (found) {
      if (found.verdict) cell.append(make("p", "", `Diagnosis: ${found.verdict}`));
      if (found.next_step) cell.append(make("p", "", `Next step: ${found.next_step}`));
      const list = make("ul", "checks");
      for (const [check, status, message, step] of found.checks) {
        const item = make("li");
        item.append(make("span", `pill ${status}`, CHECK_WORDS[status]), " ", make("code", "", check), " ", isolated(message || ""));
        if (step) item.append(make("div", "why", step));
        list.append(item);
      }
      cell.append(list);
    }
    detail.append(cell);
    line.after(detail);
  };

  // -- the controls -----------------------------------------------------------------------------------------------
  const remember = () => {
    const state = new URLSearchParams();
    if ($("q").value) state.set("q", $("q").value);
    for (const key of FILTERS) if ($("f-" + key).value) state.set(key, $("f-" + key).value);
    if (sort.key) state.set("sort", (sort.down ? "-" : "") + sort.key);
    const text = state.toString();
    if (!text && !location.hash.includes("=")) return; // a link to a section stays
    try {
      history.replaceState(null, "", text ? "#" + text : "#vms");
    } catch {} // some browsers refuse it for files
  };

  const recall = () => {
    if (!location.hash.includes("=")) return;
    const state = new URLSearchParams(location.hash.slice(1));
    $("q").value = state.get("q") || "";
    for (const key of FILTERS) $("f-" + key).value = state.get(key) || "";
    const order = state.get("sort") || "";
    const key = order.replace(/^-/, "");
    sort = COLUMNS.some((column) => column.key === key) ? { key, down: order.startsWith("-") } : { key: null, down: false };
    mark();
  };

  const heads = COLUMNS.map((column) => {
    const head = make("th");
    head.scope = "col";
    const button = make("button", "", column.head);
    button.type = "button";
    button.addEventListener("click", () => {
      sort = { key: column.key, down: sort.key === column.key && !sort.down };
      mark();
      choose();
    });
    head.append(button);
    return head;
  });
  const mark = () => COLUMNS.forEach((column, place) => {
    if (sort.key === column.key) heads[place].setAttribute("aria-sort", sort.down ? "descending" : "ascending");
    else heads[place].removeAttribute("aria-sort");
  });
  $("heads").append(...heads);

  for (const key of FILTERS.slice(1)) {
    const values = [...new Set(data.rows.map((row) => row[at[key]]).filter(Boolean))].sort();
    for (const value of values) $("f-" + key).append(new Option(value, value));
  }
  let waiting = 0;
  $("q").addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(choose, 80);
  });
  for (const key of FILTERS) $("f-" + key).addEventListener("change", choose);
  $("filters").addEventListener("submit", (event) => event.preventDefault());
  $("filters").addEventListener("reset", () => setTimeout(() => {
    sort = { key: null, down: false };
    mark();
    choose();
  }));
  for (const button of document.querySelectorAll("button[data-reason]")) {
    button.addEventListener("click", () => {
      $("filters").reset();
      setTimeout(() => {
        $("f-status").value = "attention";
        const reason = button.dataset.reason;
        $("f-reason").value = [...$("f-reason").options].some((option) => option.value === reason) ? reason : "";
        choose();
        $("vms").scrollIntoView();
        $("vms").focus({ preventScroll: true });
      });
    });
  }
  document.addEventListener("keydown", (event) => {
    const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName || "");
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      $("q").focus();
    } else if (event.key === "Escape" && event.target === $("q")) {
      $("q").value = "";
      choose();
    }
  });
  $("all").addEventListener("click", () => draw(shown.length));
  new IntersectionObserver((entries) => {
    if (entries.some((entry) => entry.isIntersecting) && drawn < shown.length) draw(BATCH);
  }, { rootMargin: "600px" }).observe($("more"));
  window.addEventListener("beforeprint", () => draw(shown.length));
  window.addEventListener("hashchange", () => {
    if (location.hash.includes("=")) {
      recall();
      choose();
    }
  });

  for (const element of document.querySelectorAll("section time")) {
    element.title = element.dateTime;
    element.textContent = `${age(element.dateTime)} ago`;
  }
  const hours = (Date.now() - made) / 3600000;
  if (hours > 24) $("old").textContent = `This page is ${Math.floor(hours / 24)} days old.`;
  recall();
  choose();
  document.documentElement.dataset.ready = String(Math.round(performance.now()));
})();
