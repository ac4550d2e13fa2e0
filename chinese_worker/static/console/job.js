'use strict';
// The page of a job that has not ended: how far it is, until it has ended; then the whole page anew.
{
    const EVERY_MS = 2000;
    const PARTS = ['#content h1', '#job-progress'];

    function changed(page, selector) {
        const now = document.querySelector(selector);
        const then = page.querySelector(selector);
        if (now && then && !now.isEqualNode(then)) now.replaceWith(document.adoptNode(then));
    }

    async function refresh() {
        const answer = await fetch(location.href, {redirect: 'error'});
        if (!answer.ok) return;
        const page = new DOMParser().parseFromString(await answer.text(), 'text/html');
        if (page.querySelector('script[src*="console/job"]')) PARTS.forEach(selector => changed(page, selector));
        else location.replace(location.href);
    }

    setInterval(() => { if (!document.hidden) refresh().catch(() => {}); }, EVERY_MS);
}
