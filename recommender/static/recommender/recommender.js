/* For pages that a cache serves: fills the empty places of lists, and tells the shop that the page was seen.
   <script src="{% static 'recommender/recommender.js' %}" data-beacon="{% url 'recommender:beacon' %}" defer></script> */
(function () {
  "use strict";
  var script = document.currentScript;

  function fill(place) {
    fetch(place.dataset.recommenderSrc, { credentials: "same-origin", headers: { Accept: "text/html" } })
      .then(function (answer) { return answer.ok ? answer.text() : ""; })
      .then(function (html) {
        place.innerHTML = html;
        place.dispatchEvent(new CustomEvent("recommender:loaded", { bubbles: true }));
      })
      .catch(function () { /* the place stays empty */ });
  }

  function start() {
    document.querySelectorAll("[data-recommender-src]").forEach(fill);
    var address = script && script.dataset.beacon;
    if (address && navigator.sendBeacon) {
      navigator.sendBeacon(address, JSON.stringify({ path: location.pathname + location.search }));
    }
  }

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
