/* Renews the panel [data-poll] of an admin page while a run is active; without scripts the whole page is reloaded.
   <script src="{% static 'recommender/admin.js' %}" data-seconds="5" defer></script> */
(function () {
  "use strict";
  var seconds = Number(document.currentScript.dataset.seconds) || 5;

  function opened(panel) {
    return Array.prototype.map.call(panel.querySelectorAll("details[id][open]"), function (details) { return details.id; });
  }

  function replace(panel, fresh) {
    var open = opened(panel);
    var focused = panel.contains(document.activeElement) ? document.activeElement.id : "";
    panel.replaceWith(fresh);
    open.forEach(function (id) { var details = document.getElementById(id); if (details) details.open = true; });
    if (focused && document.getElementById(focused)) document.getElementById(focused).focus();
  }

  function poll() {
    fetch(location.href, { credentials: "same-origin", headers: { Accept: "text/html" } })
      .then(function (answer) { return answer.ok ? answer.text() : Promise.reject(answer.status); })
      .then(function (html) {
        var page = new DOMParser().parseFromString(html, "text/html");
        var panel = document.querySelector("[data-poll]");
        var fresh = page.querySelector("[data-poll]");
        if (!panel || !fresh) return;
        replace(panel, fresh);
        if (fresh.dataset.poll === "on") wait();
      })
      .catch(wait);
  }

  function wait() { setTimeout(poll, seconds * 1000); }

  wait();
})();
