// Shows the entries that have all the words that were typed. Without this script the whole list stays.
"use strict";
(function () {
    const input = document.getElementById("words");
    const found = document.getElementById("found");
    const entries = Array.from(document.querySelectorAll("[data-words]"));
    const sections = Array.from(document.querySelectorAll("section"));

    function show() {
        const words = input.value.toLowerCase().split(/[\s,;]+/).filter(Boolean);
        let count = 0;

        for (const entry of entries) {
            const text = entry.dataset.words;
            entry.hidden = !words.every((word) => text.includes(word));
            count += entry.hidden ? 0 : 1;
        }
        for (const section of sections)
            section.hidden = words.length > 0 && !section.querySelector("[data-words]:not([hidden])");
        found.textContent = !words.length ? "" : count === 1 ? "1 entry" : count + " entries";
    }

    document.querySelector(".search").hidden = false;
    input.addEventListener("input", show);
    input.addEventListener("keydown", function (event) {
        const first = document.querySelector("[data-words]:not([hidden]) a");
        if (event.key === "Enter" && first && input.value.trim())
            first.click();
    });
    show();
})();
