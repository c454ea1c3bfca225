"use strict";
(function () {
  var root = document.documentElement;
  var button = document.getElementById("theme");
  function stored(value) {
    try {
      if (value === undefined) { return localStorage.getItem("trtkit-theme"); }
      localStorage.setItem("trtkit-theme", value);
    } catch (refused) { /* a page opened from a file may not store anything: the choice lasts until it is closed */ }
    return null;
  }
  function dark() {
    var chosen = root.getAttribute("data-theme");
    return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  }
  function show() { button.textContent = dark() ? "Light" : "Dark"; }
  var before = stored();
  if (before === "dark" || before === "light") { root.setAttribute("data-theme", before); }
  button.hidden = false;
  show();
  button.addEventListener("click", function () {
    var next = dark() ? "light" : "dark";
    root.setAttribute("data-theme", next);
    stored(next);
    show();
  });

  function key(row, column) {
    var cell = row.cells[column];
    var value = cell.getAttribute("data-sort");
    return value === null ? cell.textContent.trim() : parseFloat(value);
  }
  function compare(a, b) {
    if (typeof a === "number" && typeof b === "number") { return a - b; }
    if (typeof a === "number") { return -1; }
    if (typeof b === "number") { return 1; }
    return a.localeCompare(b, "en", { numeric: true });
  }
  function sort(table, column, header) {
    var body = table.tBodies[0];
    var numbers = header.classList.contains("number");
    var now = header.getAttribute("aria-sort");
    var order = now === "none" || !now ? (numbers ? "descending" : "ascending")
      : (now === "ascending" ? "descending" : "ascending");
    table.querySelectorAll("th").forEach(function (other) { other.setAttribute("aria-sort", "none"); });
    header.setAttribute("aria-sort", order);
    var rows = Array.prototype.map.call(body.rows, function (row, place) {
      return { row: row, key: key(row, column), place: place };
    });
    rows.sort(function (a, b) {
      var aEmpty = numbers && typeof a.key !== "number", bEmpty = numbers && typeof b.key !== "number";
      if (aEmpty !== bEmpty) { return aEmpty ? 1 : -1; }
      var found = compare(a.key, b.key);
      return (order === "ascending" ? found : -found) || a.place - b.place;
    });
    var all = document.createDocumentFragment();
    rows.forEach(function (entry) { all.appendChild(entry.row); });
    body.appendChild(all);
  }
  document.querySelectorAll("table").forEach(function (table) {
    table.querySelectorAll("th").forEach(function (header, column) {
      header.querySelector("button").addEventListener("click", function () { sort(table, column, header); });
    });
  });
  document.querySelectorAll(".filter input").forEach(function (field) {
    var table = document.getElementById(field.getAttribute("data-for"));
    field.parentNode.hidden = false;
    field.addEventListener("input", function () {
      var words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
      Array.prototype.forEach.call(table.tBodies[0].rows, function (row) {
        var text = row.textContent.toLowerCase();
        row.hidden = !words.every(function (word) { return text.indexOf(word) >= 0; });
      });
    });
  });

  function unfold() {
    var name = decodeURIComponent(location.hash.slice(1));
    var target = name && document.getElementById(name);
    if (target && target.tagName === "DETAILS") { target.open = true; target.scrollIntoView(); }
  }
  addEventListener("hashchange", unfold);
  unfold();
})();
