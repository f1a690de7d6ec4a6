// Opens each page of a site in a real browser and prints what is wrong with it, a line each; nothing: all is well.
//   node pages.js DIRECTORY-WITH-MODULES CHROMIUM SITE [SCREENSHOTS]
"use strict";
const [modules, browser, site, pictures] = process.argv.slice(2);
const { chromium } = require(modules + "/node_modules/playwright-core");
const axe = require(modules + "/node_modules/axe-core").source;
const fs = require("fs");

async function visit(context, name, complain) {
    const page = await context.newPage();

    page.on("request", (r) => { if (!r.url().startsWith("file:")) complain(`asks for ${r.url()}`); });
    page.on("pageerror", (e) => complain(String(e)));
    await page.goto("file://" + site + "/" + name);
    await page.evaluate(axe);
    const found = await page.evaluate(() => axe.run());
    for (const v of found.violations)
        complain(`${v.id}: ${v.help}: ${v.nodes[0].html}`);
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
    if (wide > 0)
        complain(`is ${wide} pixels too wide for ${page.viewportSize().width}`);
    const dead = await page.evaluate(() => Array.from(document.links, (a) => a.getAttribute("href")));
    for (const href of dead)
        if (!href.startsWith("#") && !fs.existsSync(site + "/" + href))
            complain(`leads to ${href}, which is not there`);
    return page;
}

async function search(page, complain) {
    const left = async (words) => {
        await page.fill("#words", words);
        return page.evaluate(() => Array.from(document.querySelectorAll("[data-words]:not([hidden])"), (e) => e.textContent.trim()));
    };

    if (!(await left("252")).some((t) => t.startsWith("252 ")))
        complain("the search does not find 252");
    if (!(await left("5.1.10")).some((t) => t.startsWith("X.1.10 ")))
        complain("the search does not find 5.1.10");
    if (!(await left("mailbox full")).some((t) => t.startsWith("mailbox-full")))
        complain("the search does not find mailbox full");
    if ((await left("no such words at all")).length)
        complain("the search finds what is not there");
    if ((await page.textContent("#found")) !== "0 entries")
        complain("the search does not say how many");
    await page.fill("#words", "556");
    await page.press("#words", "Enter");
    await page.waitForURL(/556/);
}

(async () => {
    const chrome = await chromium.launch({ executablePath: browser, args: ["--no-sandbox"] });
    const all = fs.readdirSync(site).filter((f) => f.endsWith(".html")).sort();
    const some = ["index.html", "252.html", "cause-null-mx.html", "compare-252-551.html"];
    const views = [
        { pages: all.filter((f, i) => i % 20 === 0 || some.includes(f)), width: 1200, height: 900, colorScheme: "light" },
        { pages: some, width: 1200, height: 900, colorScheme: "dark" },
        { pages: some, width: 320, height: 700, colorScheme: "light" },
        { pages: some, width: 390, height: 844, colorScheme: "dark" },
    ];

    for (const view of views) {
        const context = await chrome.newContext({ viewport: { width: view.width, height: view.height },
                                                  colorScheme: view.colorScheme });
        for (const name of view.pages) {
            const complain = (what) => console.log(`${name} (${view.width}, ${view.colorScheme}): ${what}`);
            const page = await visit(context, name, complain);

            if (pictures && some.includes(name))
                await page.screenshot({ path: `${pictures}/${name}-${view.width}-${view.colorScheme}.png`, fullPage: true });
            if (name === "index.html")
                await search(page, complain);
            await page.close();
        }
        await context.close();
    }
    const plain = await chrome.newContext({ javaScriptEnabled: false });
    const page = await plain.newPage();
    await page.goto("file://" + site + "/index.html");
    if (await page.isVisible(".search") || !(await page.isVisible("text=Cannot Verify User")))
        console.log("index.html: without scripts the list is not there, or a search that does nothing is");
    await chrome.close();
})().catch((e) => { console.log(String(e)); process.exit(1); });
