'use strict';
// Forms of prompts and agents: what the prompt would say, asked of the server shortly after each change.
{
    const panel = document.getElementById('preview');
    const form = document.querySelector('#content-main > form');
    const WAIT_MS = 400;
    let timer = 0;
    let latest = 0;

    function show(text, bad) {
        const output = panel.querySelector('pre');
        output.textContent = text;
        output.classList.toggle('bad', bad);
    }

    async function preview() {
        const number = ++latest;
        const data = new FormData(form);
        const agent = document.getElementById('preview-agent');
        if (agent) data.set('preview_agent', agent.value);
        try {
            const response = await fetch(panel.dataset.url, {method: 'POST', body: data, credentials: 'same-origin'});
            if (!response.ok) throw new Error(`The server answered ${response.status}.`);
            const answer = await response.json();
            if (number === latest) show(answer.error || answer.text || 'The prompt is empty.', Boolean(answer.error));
        } catch (error) {
            if (number === latest) show(`No preview: ${error.message}`, true);
        }
    }

    function soon() {
        clearTimeout(timer);
        timer = setTimeout(preview, WAIT_MS);
    }

    if (panel && form) {
        form.addEventListener('input', soon);
        form.addEventListener('change', soon);
        document.addEventListener('formset:removed', soon);
        panel.addEventListener('change', soon);
        preview();
    }
}
