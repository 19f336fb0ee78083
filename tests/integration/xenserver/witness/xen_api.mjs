// Copyright (c) 2026, vmops maintainers
// GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// The npm client xen-api against the XAPI rig: argv is module folder, URL, user, password, transport, host name, ISO folder.
// Prints what it saw as one line of JSON.
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'
import { Readable } from 'node:stream'

const [modules, url, user, password, transport, hostName, folder] = process.argv.slice(2)
const entry = createRequire(`${modules}/`).resolve('xen-api')
const { createClient } = await import(pathToFileURL(entry).href)

const options = { url, auth: { user, password }, allowUnauthorized: true }
if (transport !== 'auto') options.transport = transport
const xapi = createClient(options)
await xapi.connect()
await xapi.objectsFetched

const seen = {}
const all = Object.values(xapi.objects.all)
const vm = all.find(o => o.$type === 'VM' && o.name_label === 'web1')
seen.mac = vm.$VIFs[0].MAC
seen.networks = vm.$guest_metrics.networks
seen.power = vm.power_state

const host = all.find(o => o.$type === 'host' && o.name_label === hostName)
const sr = await xapi.call('SR.create', host.$ref, { location: folder, legacy_mode: 'true' }, '0', 'witness', '', 'iso', 'iso', false, {})
const data = Buffer.alloc(409600, 7)
const vdi = await xapi.call('VDI.create', {
  name_label: 'witness.iso', name_description: '', SR: sr, virtual_size: String(data.length), type: 'user', sharable: false,
  read_only: false, other_config: {}, sm_config: { path: 'witness.iso' },
})
const task = await xapi.createTask('import')
const body = Readable.from([data])
body.length = data.length
await xapi.putResource(body, '/import_raw_vdi/', { query: { format: 'raw', vdi }, task })
await xapi.barrier(vdi)
seen.location = xapi.getObject(vdi).location

seen.errors = []
for (const call of [['VM.start', 'OpaqueRef:nope', false, false], ['SR.scan', vdi]]) {
  try {
    await xapi.call(...call)
  } catch (error) {
    seen.errors.push([error.code, ...error.params])
  }
}
seen.vdi = vdi
console.log(JSON.stringify(seen))
await xapi.disconnect()
process.exit(0)
