-- Wireshark dissector for the Causeway tunnel protocol (docs/protocol.md section 4).
--
--   wireshark -X lua_script:docs/wireshark/causeway.lua FILE
--   tshark    -X lua_script:docs/wireshark/causeway.lua -r FILE -V
--
-- Records as they are on the line (`causeway capture session SITE outside`, `port wan`, or tcpdump): the header. Opened records
-- (`causeway capture session SITE records`, link type USER0): header, blocks, and the whole frames in them.
--
-- It takes no key log and opens nothing: no command of the appliance gives keys away (docs/security.md says why). To see inside, let the
-- appliance open the records (`records`), or capture the frames themselves (`session SITE inside`, `segment NAME`).

local causeway = Proto("causeway", "Causeway record")
local blocks = Proto("causeway_block", "Causeway block")

local f = causeway.fields
f.type = ProtoField.uint8("causeway.type", "Type", base.DEC, nil, 0xf0)
f.phase = ProtoField.uint8("causeway.phase", "Key phase, low 4 bits", base.DEC, nil, 0x0f)
f.lane = ProtoField.uint24("causeway.lane", "Lane ID", base.HEX)
f.number = ProtoField.uint32("causeway.number", "Record number, low 32 bits")
f.ciphertext = ProtoField.bytes("causeway.ciphertext", "Ciphertext of the blocks")
f.tag = ProtoField.bytes("causeway.tag", "AES-GCM tag")

local b = blocks.fields
b.first = ProtoField.bool("causeway.block.first", "First: the start of a frame", 16, nil, 0x8000)
b.last = ProtoField.bool("causeway.block.last", "Last: the end of a frame", 16, nil, 0x4000)
b.tunnel = ProtoField.uint16("causeway.block.tunnel", "Tunnel ID", base.DEC, nil, 0x0fff)
b.length = ProtoField.uint16("causeway.block.length", "Length")
b.piece = ProtoField.bytes("causeway.block.piece", "Piece of a frame")
b.kind = ProtoField.uint8("causeway.block.kind", "Kind", base.DEC, { [0] = "padding", [1] = "echo request", [2] = "echo reply" })
b.token = ProtoField.bytes("causeway.block.token", "Token")
b.rest = ProtoField.bytes("causeway.block.rest", "Octets")

local malformed = ProtoExpert.new("causeway.malformed", "A block that reaches over the end of its record", expert.group.MALFORMED,
    expert.severity.ERROR)
blocks.experts = { malformed }

causeway.prefs.port = Pref.uint("UDP port", 443, "The data port of records (server.data_port)")

local HEADER, TAG, BLOCK = 8, 16, 4
local ethernet = Dissector.get("eth_withoutfcs")

local function header(buffer, tree)
    tree:add(f.type, buffer(0, 1))
    tree:add(f.phase, buffer(0, 1))
    tree:add(f.lane, buffer(1, 3))
    tree:add(f.number, buffer(4, 4))
    return string.format("lane %06x, record %d", buffer(1, 3):uint(), buffer(4, 4):uint())
end

-- A record as it is on the line.
function causeway.dissector(buffer, pinfo, root)
    if buffer:len() < HEADER + TAG or bit.rshift(buffer(0, 1):uint(), 4) ~= 1 then
        return 0
    end
    local tree = root:add(causeway, buffer())
    local text = header(buffer, tree)
    pinfo.cols.protocol = "Causeway"
    pinfo.cols.info = string.format("%s, phase %d, %d octets sealed", text, bit.band(buffer(0, 1):uint(), 15),
        buffer:len() - HEADER - TAG)
    tree:append_text(", " .. text)
    if buffer:len() > HEADER + TAG then
        tree:add(f.ciphertext, buffer(HEADER, buffer:len() - HEADER - TAG))
    end
    tree:add(f.tag, buffer(buffer:len() - TAG, TAG))
    return buffer:len()
end

-- A block of the session's own (protocol 4.3).
local function own(buffer, tree)
    tree:add(b.kind, buffer(0, 1))
    local kind = buffer(0, 1):uint()
    local at = 1
    if (kind == 1 or kind == 2) and buffer:len() >= 9 then
        tree:add(b.token, buffer(1, 8))
        at = 9
    end
    if buffer:len() > at then
        tree:add(b.rest, buffer(at))
    end
    return kind == 0 and "padding" or kind == 1 and "echo request" or kind == 2 and "echo reply" or ("kind " .. kind)
end

-- An opened record: header and blocks.
local opened = Proto("causeway_opened", "Causeway record, opened")
function opened.dissector(buffer, pinfo, root)
    if buffer:len() < HEADER then
        return 0
    end
    local tree = root:add(causeway, buffer())
    local text = header(buffer, tree)
    tree:append_text(", opened, " .. text)
    local at, found, frames = HEADER, {}, {}
    while at + BLOCK <= buffer:len() do
        local length = buffer(at + 2, 2):uint()
        local size = math.min(length, buffer:len() - at - BLOCK)
        local block = tree:add(blocks, buffer(at, BLOCK + size))
        block:add(b.first, buffer(at, 2))
        block:add(b.last, buffer(at, 2))
        block:add(b.tunnel, buffer(at, 2))
        block:add(b.length, buffer(at + 2, 2))
        local flags = bit.rshift(buffer(at, 1):uint(), 6)
        local tunnel = bit.band(buffer(at, 2):uint(), 0xfff)
        if length == 0 or size < length and buffer:len() == buffer:reported_len() then
            block:add_proto_expert_info(malformed)
        end
        local what
        if tunnel == 0 and size > 0 then
            what = own(buffer(at + BLOCK, size):tvb(), block)
        else
            what = string.format("tunnel %d, %s, %d octets", tunnel, flags == 3 and "frame" or "piece", length)
            if flags == 3 and size == length then
                frames[#frames + 1] = { buffer(at + BLOCK, size):tvb(), block }
            elseif size > 0 then
                block:add(b.piece, buffer(at + BLOCK, size))
            end
        end
        block:append_text(": " .. what)
        found[#found + 1] = what
        at = at + BLOCK + math.max(size, 1)
        if size < length then break end
    end
    -- Their dissectors write into the columns, which are ours at the end.
    for _, frame in ipairs(frames) do
        pcall(function() ethernet:call(frame[1], pinfo, frame[2]) end)
    end
    pinfo.cols.protocol = "Causeway"
    pinfo.cols.info = text .. ": " .. table.concat(found, "; ")
    return buffer:len()
end

local udp = DissectorTable.get("udp.port")
local port = 0
local function register()
    if port ~= 0 then udp:remove(port, causeway) end
    port = causeway.prefs.port
    if port ~= 0 then udp:add(port, causeway) end
end
function causeway.prefs_changed()
    register()
end
register()
DissectorTable.get("wtap_encap"):add(wtap.USER0, opened)
