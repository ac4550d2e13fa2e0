'use strict';
// The runs of a conversation, at its side: what each cost, how it ended, what it was made with.

class Runs {
    /** `act(url, button)` posts; `read(url)` gets JSON. `base` is the address of the conversation. */
    constructor(container, {base, mayRetry, maySend, act, read}) {
        Object.assign(this, {container, base, mayRetry, maySend, act, read});
    }

    /** `idle`: no run is open, so that one may be tried again. */
    draw(runs, idle) {
        const open = new Set([...this.container.querySelectorAll('details[open]')].map((one) => one.dataset.run));
        const loaded = new Map([...this.container.querySelectorAll('details')].map((one) => [one.dataset.run, one.lastChild]));
        this.loaded = loaded;  // also what was typed there stays
        this.newest = runs.length ? runs[0].id : 0;
        this.container.replaceChildren(...runs.map((run) => this.run(run, idle, open.has(String(run.id)))));
    }

    run(run, idle, open) {
        const root = element('li', 'run');
        root.id = `run-${run.id}`;
        const head = element('p', 'run-head');
        head.append(element('strong', '', `Run ${run.id}`), ' ', badge(run.status), ' ', moment(run.created_at));
        root.append(head);
        if (run.retry_of) root.append(element('p', 'quiet', `answers the message of run ${run.retry_of} again`));
        if (run.error) root.append(element('p', 'run-error', run.error));
        if (run.next_step) root.append(element('p', 'quiet', run.next_step));
        for (const warning of run.warnings) root.append(element('p', 'quiet', warning));
        const facts = element('dl', 'measures');
        for (const {name, value} of run.facts) {
            const pair = element('div');
            pair.append(element('dt', '', name), element('dd', '', value));
            facts.append(pair);
        }
        root.append(facts, this.tools(run, idle), this.snapshot(run, open));
        return root;
    }

    tools(run, idle) {
        const tools = element('div', 'tools');
        if (this.mayRetry && run.ended && run.status !== 'completed' && idle) {
            tools.append(this.button('Retry', `${this.base}runs/${run.id}/retry/`));
        }
        if (this.maySend && run.status === 'completed' && run.id === this.newest && idle) {
            tools.append(this.button('Regenerate', `${this.base}runs/${run.id}/regenerate/`));
        }
        if (run.job_url) {
            const link = element('a', 'button quiet-button', 'Job');
            link.href = run.job_url;
            tools.append(link);
        }
        return tools;
    }

    button(label, url) {
        const button = element('button', 'button', label);
        button.type = 'button';
        button.addEventListener('click', () => this.act(url, button));
        return button;
    }

    snapshot(run, open) {
        const details = element('details');
        details.dataset.run = run.id;
        const kept = this.loaded.get(String(run.id));
        details.append(element('summary', '', 'Made with'), kept && kept.firstChild ? kept : element('div', 'snapshot'));
        details.addEventListener('toggle', () => {
            if (details.open) this.loadSnapshot(run, details.lastChild);
            else details.lastChild.replaceChildren();  // unfolded again it is read anew
        });
        details.open = open;
        return details;
    }

    async loadSnapshot(run, target) {
        if (target.firstChild) return;
        const {snapshot, changes, problem, backends} = await this.read(`${this.base}runs/${run.id}/snapshot/`);
        if (!snapshot) {
            target.append(element('p', 'quiet', 'The run has not come to its first turn.'));
            return;
        }
        target.replaceChildren(this.changes(changes, problem), this.facts(snapshot));
        if (this.maySend) target.prepend(this.replay(run, snapshot, backends));
    }

    /** The same question with this very snapshot, in a new conversation. */
    replay(run, snapshot, backends) {
        const form = element('form', 'replay');
        const backend = element('select');
        backend.name = 'backend';
        backend.setAttribute('aria-label', 'Backend');
        for (const name of ['', ...backends]) {
            const option = element('option', '', name || `on ${snapshot.backend}`);
            option.value = name;
            backend.append(option);
        }
        const model = element('input');
        Object.assign(model, {name: 'model', type: 'text', maxLength: 255, placeholder: snapshot.model, autocomplete: 'off'});
        model.setAttribute('aria-label', 'Model');
        const button = element('button', 'button', 'Replay');
        button.title = 'Ask the same again with this snapshot, in a new conversation';
        form.append(backend, model, button);
        form.addEventListener('submit', (event) => {
            event.preventDefault();
            this.act(`${this.base}runs/${run.id}/replay/`, button, new FormData(form));
        });
        return form;
    }

    facts(snapshot) {
        const facts = element('dl', 'facts');
        for (const [name, value] of Object.entries(snapshot)) {
            const cell = element('dd');
            cell.append(element('pre', '', (typeof value === 'string' ? value : pretty(value)) || '–'));
            facts.append(element('dt', '', name.replaceAll('_', ' ')), cell);
        }
        return facts;
    }

    /** What is otherwise now; `problem` where the agent could not run at all. */
    changes(changes, problem) {
        const root = element('div', 'changes');
        root.append(element('p', '', 'The agent now'));
        if (problem) root.append(element('p', 'run-error', problem));
        else if (!Object.keys(changes).length) root.append(element('p', 'quiet', 'As it was.'));
        for (const [name, change] of Object.entries(changes || {})) {
            // The first two lines of a diff name its sides.
            const lines = change.diff ? change.diff.slice(2) : [`-${change.from}`, `+${change.to}`];
            const block = element('pre', 'diff');
            for (const line of lines) {
                block.append(element('span', {'-': 'diff-gone', '+': 'diff-new'}[line[0]] || '', `${line}\n`));
            }
            root.append(element('p', 'quiet', name.replaceAll('_', ' ')), block);
        }
        return root;
    }
}
