'use strict';
// Every page: times that stay true, and the menu of narrow screens.

/** `now`, `4 min ago`, `in 2 h`: one unit, rounded down. */
function relativeTime(date) {
    const seconds = (Date.now() - date) / 1000;
    for (const [unit, size] of [['d', 86400], ['h', 3600], ['min', 60], ['s', 1]]) {
        if (Math.abs(seconds) >= size) {
            const text = `${Math.floor(Math.abs(seconds) / size)} ${unit}`;
            return seconds > 0 ? `${text} ago` : `in ${text}`;
        }
    }
    return 'now';
}

{
    const exact = new Intl.DateTimeFormat(undefined, {dateStyle: 'medium', timeStyle: 'long'});

    function refreshTimes() {
        for (const element of document.querySelectorAll('time[data-ago]')) {
            const moment = new Date(element.dateTime);
            element.textContent = relativeTime(moment);
            element.title = exact.format(moment);
        }
    }

    refreshTimes();
    setInterval(() => { if (!document.hidden) refreshTimes(); }, 10000);
    document.addEventListener('visibilitychange', () => { if (!document.hidden) refreshTimes(); });

    const toggle = document.getElementById('menu-toggle');
    if (toggle) {
        toggle.addEventListener('click', () => {
            const open = document.body.classList.toggle('menu-open');
            toggle.setAttribute('aria-expanded', String(open));
        });
    }
}
