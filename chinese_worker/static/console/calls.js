'use strict';
// Tool calls as folded lines: what was asked, what became of it, who answered. Text goes into text nodes only.

function pretty(value) {
    return JSON.stringify(value, null, 2);
}

function labelled(label, text, bad) {
    const part = element('div', 'call-part');
    part.append(element('p', 'quiet', label), element('pre', `block${bad ? ' bad' : ''}`, text));
    return part;
}

const APPROVALS = {wanted: 'wants approval', approved: 'approved', denied: 'denied'};

function callSummary(call) {
    const summary = element('summary');
    summary.append(element('code', '', call.name), ' ', badge(call.status), ' ', element('span', 'tag', call.kind));
    if (APPROVALS[call.approval]) {
        const by = call.decided_by ? ` by ${call.decided_by}` : '';
        summary.append(element('span', 'tag', APPROVALS[call.approval] + by));
    }
    if (call.took) summary.append(element('span', 'quiet', call.took));
    return summary;
}

/** A call of a bubble; `open` where its reader has unfolded it. */
function drawCall(call, open) {
    const details = element('details', 'call');
    details.dataset.call = call.call_id;
    details.append(callSummary(call));
    if (call.asked_arguments) details.append(labelled('The model asked with', pretty(call.asked_arguments)));
    if (call.raw_arguments) details.append(labelled('Arguments that are no JSON object', call.raw_arguments, true));
    else details.append(labelled(call.asked_arguments ? 'Approved with' : 'Arguments', pretty(call.arguments)));
    if (call.result !== null) {
        const by = call.answered_by ? `, by ${call.answered_by}` : '';
        details.append(labelled(`${call.is_error ? 'Error' : 'Result'}${by}`, call.result || 'It is empty.', call.is_error));
        if (call.truncated) details.append(element('p', 'quiet', 'Only the beginning is shown here; the model was given all of it.'));
    } else if (call.answered_by) {
        details.append(element('p', 'quiet', `By ${call.answered_by}.`));
    }
    details.open = open;
    return details;
}
