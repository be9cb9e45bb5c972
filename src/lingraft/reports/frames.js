"use strict";
// Of the frames around tables, only those that scroll are stops of the tab key.
(() => {
  function look() {
    for (const frame of document.querySelectorAll(".scroll")) {
      // A grid is a stop of its own.
      if (!frame.querySelector("[role=grid]")) frame.tabIndex = frame.scrollWidth > frame.clientWidth ? 0 : -1;
    }
  }

  new ResizeObserver(look).observe(document.documentElement);
  document.addEventListener("toggle", look, true);
})();
