'use strict';
// The page of a tool: the request that it would make with the arguments typed, and what came of making it once.
{
    const panel = document.getElementById('try-tool');
    const form = document.querySelector('#content-main > form');
    const typed = document.getElementById('try-arguments');
    const request = document.getElementById('try-request');
    const button = document.getElementById('try-call');
    const result = document.getElementById('try-result');
    const took = document.getElementById('try-took');
    const WAIT_MS = 400;
    let timer = 0;
    let latest = 0;

    async function ask(url) {
        const body = new FormData();
        body.set('csrfmiddlewaretoken', form.querySelector('[name=csrfmiddlewaretoken]').value);
        body.set('arguments', typed.value);
        const response = await fetch(url, {method: 'POST', body, credentials: 'same-origin', redirect: 'error'});
        if (!response.ok) throw new Error(`The server answered ${response.status}.`);
        return response.json();
    }

    function show(target, text, bad) {
        target.textContent = text;
        target.classList.toggle('bad', bad);
        target.hidden = false;
    }

    function lines({method, url, headers, body}) {
        const named = Object.entries(headers).map(([name, value]) => `${name}: ${value}`);
        return [`${method} ${url}`, ...named, ...(body ? ['', body] : [])].join('\n');
    }

    async function preview() {
        const number = ++latest;
        try {
            const answer = await ask(panel.dataset.preview);
            if (number === latest) show(request, answer.error ? `Error: ${answer.error}` : lines(answer), Boolean(answer.error));
        } catch (error) {
            if (number === latest) show(request, `No preview: ${error.message}`, true);
        }
    }

    async function call() {
        button.disabled = true;
        took.textContent = 'Calling…';
        try {
            const answer = await ask(panel.dataset.try);
            show(result, answer.text + (answer.truncated ? '\n[only the beginning is shown]' : ''), !answer.ok);
            took.textContent = `${answer.ok ? 'Succeeded' : 'Failed'} in ${answer.took}.`;
        } catch (error) {
            show(result, `Nothing is known of the call: ${error.message}`, true);
            took.textContent = '';
        } finally {
            button.disabled = false;
        }
    }

    typed.addEventListener('input', () => {
        clearTimeout(timer);
        timer = setTimeout(preview, WAIT_MS);
    });
    if (button) button.addEventListener('click', call);
    preview();
}
