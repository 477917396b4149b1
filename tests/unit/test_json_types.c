/* SPDX-License-Identifier: MIT */
/*
 * Every type of event as JSON, from synthetic records: with nothing set, with everything set, and what is
 * conditional.
 */
#include "fixture.h"
#include "json_value.h"
#include "pb_build.h"

static struct cbt_decoder *decoder;
static void *with_links, *without_links, *with_decimals;

static int open_all(void **state)
{
    (void)state;
    struct cbt_err err;
    assert_int_equal(cbt_decoder_new(&decoder, &fixture_limits, &err), 0);
    with_links = json_open(&(struct cbt_format_options){.server_name = "s", .server_url = "https://u"});
    without_links = json_open(&(struct cbt_format_options){.server_name = "s", .server_url = ""});
    with_decimals = json_open(&(struct cbt_format_options){.server_name = "s", .float_time = true});
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    cbt_decoder_free(decoder);
    json_close(with_links);
    json_close(without_links);
    json_close(with_decimals);
    return 0;
}

/* The record's key is the process_guid of those events that tell of the process in their header. */
static void expect_key(const struct cbt_event *event, const struct jv *object)
{
    const struct jv *guid = event->type == CBT_TYPE_processblock ? NULL : jv_get(object, "process_guid");
    const char *expected = guid != NULL ? guid->text : "";
    uint8_t key[36];
    size_t len = cbt_event_process_guid(event, key);
    if (len != strlen(expected) || memcmp(key, expected, len) != 0)
        fail_msg("the key is '%.*s', not '%s'", (int)len, (char *)key, expected);
}

/* The record, in the notation of pb_build.h, as `json` has it; NULL frame environment. */
static void expect_json(const void *json, const char *record_text, const char *expected)
{
    struct pb record = pb_parse(record_text);
    struct cbt_event event;
    struct cbt_err err = {0};
    enum cbt_dead_reason reason;
    struct exact_buf out;
    exact_init(&out, 0, SIZE_MAX);
    if (cbt_decode_event(decoder, pb_text(&record), NULL, &event, &reason, &err) != 0 ||
        cbt_format_find("json")->encode(json, &event, &out.buf, &err) != 0)
        fail_msg("%s: %s", record_text, err.text);
    struct jv *is = jv_parse(out.buf.begin, cbt_buf_len(&out.buf));
    struct jv *want = jv_parse(expected, strlen(expected));
    if (want == NULL)
        fail_msg("the test expects what is no JSON: %s", expected);
    if (is == NULL || !jv_equal(is, want))
        fail_msg("%s\n is       %.*s\n expected %s", record_text, (int)cbt_buf_len(&out.buf),
                 (char *)out.buf.begin, expected);
    expect_key(&event, is);
    jv_free(is);
    jv_free(want);
    exact_free(&out);
    pb_free(&record);
}

#define HEADER     "1{1:4} "
#define TYPE(t, e) "{\"type\":\"ingress.event." t "\",\"event_type\":\"" e "\",\"cb_server\":\"s\","
/* What every event has where nothing is set, and of those of a process. */
#define NOTHING    "\"timestamp\":0,\"sensor_id\":0,\"computer_name\":\"\""
#define NO_PROCESS NOTHING ",\"process_guid\":\"0\",\"pid\":0"
#define NO_HASHES  ",\"md5\":\"\",\"sha256\":\"\""

/* A header with all that counts, and a sensor. */
#define FULL                                                                                                 \
    "1{1:4 4:130921702131467731 5:-99 6:5 9:130921702131467731 10:708 11:x000102030405060708090A0B0C0D0E0F " \
    "12:'c:\\prog.exe' 13:-7 14:xFFEE} 13{1{1:7 2:'host'}} "
#define FULL_GUID  "00000007-0000-02c4-01d1-20982cef85d3"
#define FULL_EVENT "\"timestamp\":1447696613,\"sensor_id\":7,\"computer_name\":\"host\""
#define FULL_PROCESS                                                                                         \
    FULL_EVENT ",\"process_guid\":\"" FULL_GUID "\",\"pid\":708,\"fork_pid\":-7,"                            \
               "\"process_path\":\"c:\\\\prog.exe\""
#define FULL_HASHES ",\"md5\":\"000102030405060708090A0B0C0D0E0F\",\"sha256\":\"FFEE\""
#define FULL_LINKS                                                                                           \
    ",\"link_process\":\"https://u/#analyze/" FULL_GUID "/0\","                                              \
    "\"link_sensor\":\"https://u/#/host/7\""

#define NO_REGMOD                                                                                            \
    ",\"path\":\"\",\"action\":\"createkey\",\"actiontype\":1,\"tamper\":false,\"tamper_sent\":false"

/* --- what all events have --- */

static void common_keys_are_there_with_defaults_where_nothing_is_set(void **state)
{
    (void)state;
    expect_json(
        without_links, HEADER "7{}",
        TYPE("regmod", "regmod") NO_PROCESS NO_HASHES
        ",\"path\":\"\",\"action\":\"createkey\",\"actiontype\":1,\"tamper\":false,\"tamper_sent\":false}");
    expect_json(
        with_links, FULL "7{2:2}",
        TYPE("regmod", "regmod") FULL_PROCESS FULL_HASHES FULL_LINKS
        ",\"path\":\"\",\"action\":\"writeval\",\"actiontype\":2,\"tamper\":false,\"tamper_sent\":false}");
    expect_json(without_links, "1{1:4 13:0} 7{}",
                TYPE("regmod", "regmod") NO_PROCESS NO_HASHES ",\"fork_pid\":0" NO_REGMOD "}");
    expect_json(
        with_decimals, FULL "7{}",
        TYPE("regmod",
             "regmod") "\"timestamp\":1447696613.146,\"sensor_id\":7,\"computer_name\":\"host\","
                       "\"process_guid\":\"" FULL_GUID
                       "\",\"pid\":708,\"fork_pid\":-7,\"process_path\":\"c:\\\\prog.exe\"" FULL_HASHES
                       ",\"path\":\"\",\"action\":\"createkey\",\"actiontype\":1,\"tamper\":false,\"tamper_"
                       "sent\":false}");
}

static void process_guid_needs_all_its_parts_else_it_is_the_deprecated_number(void **state)
{
    (void)state;
    static const struct {
        const char *record, *guid, *rest;
    } rows[] = {
        {"1{1:4 5:-99 9:5 10:6} 7{}", "-99", "\"pid\":6,\"sensor_id\":0"},
        {"1{1:4 5:-99 9:5} 13{1{1:7}} 7{}", "-99", "\"pid\":0,\"sensor_id\":7"},
        {"1{1:4 5:9223372036854775807 10:6} 13{1{1:7}} 7{}", "9223372036854775807",
         "\"pid\":6,\"sensor_id\":7"},
        {"1{1:4 9:5 10:6} 13{1{1:7}} 7{}", "00000007-0000-0006-0000-000000000005",
         "\"pid\":6,\"sensor_id\":7"},
        {"1{1:4 5:-99 9:0 10:0} 13{1{1:0}} 7{}", "00000000-0000-0000-0000-000000000000",
         "\"pid\":0,\"sensor_id\":0"},
        {"1{1:4 9:-1 10:-1} 13{1{1:-1}} 7{}", "ffffffff-ffff-ffff-ffff-ffffffffffff",
         "\"pid\":-1,\"sensor_id\":-1"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char expected[1000];
        const char *sensor = strstr(rows[i].rest, "sensor_id\":") + strlen("sensor_id\":");
        snprintf(expected, sizeof(expected),
                 TYPE("regmod", "regmod") "\"timestamp\":0,\"computer_name\":\"\",\"process_guid\":\"%s\",%s"
                                          ",\"link_process\":\"https://u/#analyze/%s/"
                                          "0\",\"link_sensor\":\"https://u/#/host/%s\"" NO_HASHES NO_REGMOD
                                          "}",
                 rows[i].guid, rows[i].rest, rows[i].guid, sensor);
        expect_json(with_links, rows[i].record, expected);
    }
}

static void texts_keep_nul_and_are_mended(void **state)
{
    (void)state;
    expect_json(
        without_links, "1{1:4 12:x6100FF62} 13{1{2:xC3A9F09F98}} 7{4:x5C000A}",
        TYPE("regmod",
             "regmod") "\"timestamp\":0,\"sensor_id\":0,\"computer_name\":\"\u00e9\ufffd\","
                       "\"process_guid\":\"0\",\"pid\":0,\"process_path\":\"a\\u0000\ufffdb\"" NO_HASHES
                       ",\"path\":\"\\\\\\u0000\\n\",\"action\":\"createkey\",\"actiontype\":1,\"tamper\":"
                       "false,"
                       "\"tamper_sent\":false}");
}

static void path_is_the_first_string_of_the_guid(void **state)
{
    (void)state;
    expect_json(without_links, "1{1:4 6:-3} 2{1:1 2:'no'} 2{1:-3 2:'yes'} 2{1:-3 2:'late'} 4{}",
                TYPE("moduleload", "modload") NO_PROCESS NO_HASHES ",\"path\":\"yes\"}");
    /* An absent guid is 0 on either side; a string without text is empty. */
    expect_json(without_links, "1{1:4} 2{2:'zero'} 4{}",
                TYPE("moduleload", "modload") NO_PROCESS NO_HASHES ",\"path\":\"zero\"}");
    expect_json(without_links, "1{1:4 6:1} 2{1:1} 2{1:1 2:'late'} 4{}",
                TYPE("moduleload", "modload") NO_PROCESS NO_HASHES ",\"path\":\"\"}");
    expect_json(without_links, "1{1:4 6:1} 2{1:2 2:'other'} 4{}",
                TYPE("moduleload", "modload") NO_PROCESS NO_HASHES ",\"path\":\"\"}");
}

/* --- each type --- */

static void procstart_and_procend(void **state)
{
    (void)state;
#define NO_PARENT                                                                                            \
    ",\"command_line\":\"\",\"parent_path\":\"\",\"parent_pid\":0,\"parent_guid\":0,\"parent_create_time\":" \
    "0,"                                                                                                     \
    "\"parent_process_guid\":\"0\",\"filtering_known_dlls\":false,\"expect_followon_w_md5\":false"
    expect_json(without_links, HEADER "3{2:1}",
                TYPE("procstart", "proc") NO_PROCESS NO_HASHES ",\"path\":\"\"" NO_PARENT "}");
    expect_json(without_links, HEADER "3{}",
                TYPE("procend", "proc") NO_PROCESS NO_HASHES ",\"path\":\"\"" NO_PARENT "}");
#define PROCESS                                                                                              \
    "1:1 3:-4 4:130921702131467731 5:-8915740139778150230 6:xAA 9:'cmd /c \"x\"' 10:xBB 11:'c:\\p' 13:1 "    \
    "14:'S-1-5-18' 15:'SYSTEM' 18:1 19:xCC 20:xDD 21:-2"
#define PARENT                                                                                               \
    ",\"path\":\"c:\\\\child\",\"command_line\":\"cmd /c \\\"x\\\"\",\"parent_path\":\"c:\\\\p\","           \
    "\"parent_pid\":-4,\"parent_guid\":-8915740139778150230,\"parent_create_time\":1447696613,"              \
    "\"parent_process_guid\":\"00000007-ffff-fffc-01d1-20982cef85d3\",\"parent_md5\":\"BB\","                \
    "\"parent_sha256\":\"DD\",\"filtering_known_dlls\":true,\"expect_followon_w_md5\":true,"                 \
    "\"username\":\"SYSTEM\",\"uid\":\"S-1-5-18\",\"logon_type\":-2,"                                        \
    "\"link_parent\":\"https://u/#analyze/00000007-ffff-fffc-01d1-20982cef85d3/1\"}"
    expect_json(with_links, FULL "2{1:5 2:'c:\\child'} 3{2:1 " PROCESS "}",
                TYPE("procstart", "proc") FULL_PROCESS FULL_LINKS ",\"md5\":\"AA\",\"sha256\":\"CC\"" PARENT);
    expect_json(with_links, FULL "2{1:5 2:'c:\\child'} 3{2:0 " PROCESS "}",
                TYPE("procend", "proc") FULL_PROCESS FULL_LINKS FULL_HASHES PARENT);
    /* The header's hashes where the process has none; an empty one is one; the number where a part is
     * missing. */
    expect_json(
        without_links, "1{1:4} 13{1{1:7}} 3{3:1 5:-5}",
        TYPE("procend",
             "proc") "\"timestamp\":0,\"sensor_id\":7,\"computer_name\":\"\","
                     "\"process_guid\":\"0\",\"pid\":0,\"path\":\"\"" NO_HASHES
                     ",\"command_line\":\"\",\"parent_path\":\"\",\"parent_pid\":1,\"parent_guid\":-5,"
                     "\"parent_create_time\":0,\"parent_process_guid\":\"-5\",\"filtering_known_dlls\":false,"
                     "\"expect_followon_w_md5\":false}");
    expect_json(with_links, "1{1:4 11:xEE 14:xFF} 3{2:1 3:1 5:-5 6:x 21:0}",
                TYPE("procstart", "proc") NO_PROCESS
                ",\"link_process\":\"https://u/#analyze/0/0\",\"link_sensor\":\"https://u/#/host/0\""
                ",\"path\":\"\",\"md5\":\"\",\"sha256\":\"FF\",\"command_line\":\"\",\"parent_path\":\"\","
                "\"parent_pid\":1,\"parent_guid\":-5,\"parent_create_time\":0,\"parent_process_guid\":\"-5\","
                "\"filtering_known_dlls\":false,\"expect_followon_w_md5\":false,\"logon_type\":0,"
                "\"link_parent\":\"https://u/#analyze/-5/1\"}");
}

static void moduleload_has_the_hashes_of_the_module_only(void **state)
{
    (void)state;
    expect_json(with_links, FULL "4{}",
                TYPE("moduleload", "modload") FULL_PROCESS FULL_LINKS NO_HASHES ",\"path\":\"\"}");
    expect_json(with_links, FULL "4{3:x0A 8:x0B}",
                TYPE("moduleload", "modload") FULL_PROCESS FULL_LINKS
                ",\"md5\":\"0A\",\"sha256\":\"0B\",\"path\":\"\"}");
}

static void filemod(void **state)
{
    (void)state;
    expect_json(
        without_links, HEADER "5{}",
        TYPE("filemod", "filemod") NO_PROCESS NO_HASHES
        ",\"path\":\"\",\"action\":\"create\",\"actiontype\":1,\"filetype\":0,\"filetype_name\":\"Unknown\","
        "\"tamper\":false,\"tamper_sent\":false}");
    expect_json(with_links, FULL "2{1:5 2:'f'} 5{2:16 4:x01 5:113 6:1 7:1 8:x02}",
                TYPE("filemod", "filemod") FULL_PROCESS FULL_HASHES FULL_LINKS
                ",\"path\":\"f\",\"action\":\"open\",\"actiontype\":16,\"filetype\":113,"
                "\"filetype_name\":\"FlashSwf\",\"file_md5\":\"01\",\"file_sha256\":\"02\",\"tamper\":true,"
                "\"tamper_sent\":true}");
    expect_json(without_links, HEADER "5{2:-3 5:114}",
                TYPE("filemod", "filemod") NO_PROCESS NO_HASHES
                ",\"path\":\"\",\"action\":\"unknown (-3)\",\"actiontype\":-3,\"filetype\":114,"
                "\"filetype_name\":\"unknown (114)\",\"tamper\":false,\"tamper_sent\":false}");
}

struct name_row {
    int value;
    const char *name;
};

/* `record` has a place for the value, `expected` one for the name and, if it needs it, one for the value. */
static void expect_names(const struct name_row *rows, size_t count, const char *record, const char *expected)
{
    for (size_t i = 0; i < count; i++) {
        char record_text[200], expected_text[1000];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        snprintf(record_text, sizeof(record_text), record, rows[i].value);
        snprintf(expected_text, sizeof(expected_text), expected, rows[i].name, rows[i].value);
#pragma GCC diagnostic pop
        expect_json(without_links, record_text, expected_text);
    }
}
#define ROWS(rows) rows, sizeof(rows) / sizeof((rows)[0])

static void enum_values_have_their_names(void **state)
{
    (void)state;
    static const struct name_row actions[] = {{0, "unknown (0)"}, {1, "create"},       {2, "write"},
                                              {3, "unknown (3)"}, {4, "delete"},       {8, "lastwrite"},
                                              {16, "open"},       {17, "unknown (17)"}};
    expect_names(
        ROWS(actions), HEADER "5{2:%d}",
        TYPE("filemod", "filemod") NO_PROCESS NO_HASHES
        ",\"path\":\"\",\"action\":\"%s\",\"actiontype\":%d,\"filetype\":0,\"filetype_name\":\"Unknown\","
        "\"tamper\":false,\"tamper_sent\":false}");
    static const struct name_row types[] = {{0, "Unknown"},       {1, "Pe"},
                                            {2, "Elf"},           {3, "UniversalBin"},
                                            {4, "unknown (4)"},   {8, "Eicar"},
                                            {16, "OfficeLegacy"}, {17, "OfficeOpenXml"},
                                            {48, "Pdf"},          {64, "ArchivePkzip"},
                                            {65, "ArchiveLzh"},   {66, "ArchiveLzw"},
                                            {67, "ArchiveRar"},   {68, "ArchiveTar"},
                                            {69, "Archive7zip"},  {96, "MsLnk"},
                                            {112, "FlashFlv"},    {113, "FlashSwf"},
                                            {-1, "unknown (-1)"}, {2147483647, "unknown (2147483647)"}};
    expect_names(
        ROWS(types), HEADER "5{5:%d}",
        TYPE("filemod", "filemod") NO_PROCESS NO_HASHES
        ",\"path\":\"\",\"action\":\"create\",\"actiontype\":1,\"filetype_name\":\"%s\",\"filetype\":%d,"
        "\"tamper\":false,\"tamper_sent\":false}");
    static const struct name_row keys[] = {
        {1, "createkey"}, {2, "writeval"}, {4, "delkey"}, {8, "delval"}, {3, "unknown (3)"}};
    expect_names(
        ROWS(keys), HEADER "7{2:%d}",
        TYPE("regmod", "regmod") NO_PROCESS NO_HASHES
        ",\"path\":\"\",\"action\":\"%s\",\"actiontype\":%d,\"tamper\":false,\"tamper_sent\":false}");
    static const struct name_row tampers[] = {{1, "CoreDriverUnloaded"}, {2, "NetworkDriverUnloaded"},
                                              {3, "CbServiceStopped"},   {4, "CbProcessTerminated"},
                                              {5, "CbCodeInjection"},    {6, "unknown (6)"}};
    expect_names(ROWS(tampers), HEADER "15{1:%d}",
                 TYPE("tamper", "tamper") NOTHING ",\"tamper_type\":\"%s\"}");
    static const struct name_row mitigations[] = {{0, "unknown (0)"},
                                                  {1, "Dep"},
                                                  {2, "Sehop"},
                                                  {3, "Asr"},
                                                  {4, "Aslr"},
                                                  {5, "NullPage"},
                                                  {6, "HeapSpray"},
                                                  {7, "MandatoryAslr"},
                                                  {8, "Eaf"},
                                                  {9, "EafPlus"},
                                                  {10, "BottomUpAslr"},
                                                  {11, "LoadLibrary"},
                                                  {12, "MemoryProtection"},
                                                  {13, "SimulateExecFlow"},
                                                  {14, "StackPivot"},
                                                  {15, "CallerChecks"},
                                                  {16, "BannedFunctions"},
                                                  {17, "DeepHooks"},
                                                  {18, "AntiDetours"},
                                                  {19, "unknown (19)"}};
    expect_names(
        ROWS(mitigations), HEADER "17{3{1:%d}}",
        TYPE("emetmitigation", "emet_mitigation") NO_PROCESS NO_HASHES
        ",\"log_message\":\"\",\"mitigation\":\"%s\",\"blocked\":false,\"log_id\":0,\"emet_timestamp\":0}");
    static const struct name_row children[] = {
        {0, "Exec"}, {1, "Fork"}, {2, "OtherExec"}, {3, "unknown (3)"}};
    expect_names(
        ROWS(children), HEADER "12{12:%d}",
        TYPE("childproc", "childproc") NO_PROCESS NO_HASHES
        ",\"created\":false,\"child_process_guid\":\"0\",\"child_pid\":0,\"parent_guid\":\"0\",\"path\":\"\","
        "\"childproc_type\":\"%s\",\"tamper\":false,\"tamper_sent\":false,\"child_suppressed\":false}");
}

static void regmod(void **state)
{
    (void)state;
    expect_json(
        with_links, FULL "7{2:8 4:'\\registry\\machine' 5:1 6:1}",
        TYPE("regmod", "regmod") FULL_PROCESS FULL_HASHES FULL_LINKS
        ",\"path\":\"\\\\registry\\\\machine\",\"action\":\"delval\",\"actiontype\":8,\"tamper\":true,"
        "\"tamper_sent\":true}");
}

static void netconn_of_the_new_message(void **state)
{
    (void)state;
    expect_json(without_links, HEADER "20{}",
                TYPE("netconn", "netconn") NO_PROCESS NO_HASHES
                ",\"domain\":\"\",\"protocol\":6,\"direction\":\"outbound\",\"remote_ip\":\"0.0.0.0\","
                "\"remote_port\":0,\"local_ip\":\"0.0.0.0\",\"local_port\":0,\"proxy\":false}");
    expect_json(
        with_links,
        FULL
        "20{1:17 2:'a.example' 3:0 4:1 5{2:16777343} 6:36895 7:'proxy' "
        "8{1:1 3:72057594037927936 4:33022 5:'eth0'} 9:47873 10{1:1 2:5} 11:4294901760 12:'J' 13:''} 6{}",
        TYPE("netconn", "netconn") FULL_PROCESS FULL_HASHES FULL_LINKS
        ",\"domain\":\"a.example\",\"protocol\":17,\"direction\":\"inbound\",\"remote_ip\":\"fe80::1%eth0\","
        "\"remote_port\":443,\"local_ip\":\"::\",\"local_port\":0,\"proxy\":true,"
        "\"proxy_ip\":\"127.0.0.1\",\"proxy_port\":8080,\"proxy_domain\":\"proxy\",\"ja3\":\"J\",\"ja3s\":"
        "\"\"}");
    /* A scope that is set but empty; a scope without an IPv6 address; a proxy without its fields. */
    expect_json(without_links, HEADER "20{1:99 4:1 8{1:1 5:''} 10{5:'eth0' 3:7}}",
                TYPE("netconn", "netconn") NO_PROCESS NO_HASHES
                ",\"domain\":\"\",\"protocol\":99,\"direction\":\"outbound\",\"remote_ip\":\"::%\","
                "\"remote_port\":0,\"local_ip\":\"0.0.0.0\",\"local_port\":0,\"proxy\":true,"
                "\"proxy_ip\":\"0.0.0.0\",\"proxy_port\":0,\"proxy_domain\":\"\"}");
}

static void netconn_of_the_old_message(void **state)
{
    (void)state;
    expect_json(
        without_links, HEADER "6{}",
        TYPE("netconn", "netconn") NO_PROCESS NO_HASHES
        ",\"domain\":\"\",\"protocol\":6,\"direction\":\"outbound\",\"ipv4\":\"0.0.0.0\",\"port\":0}");
    expect_json(
        with_links, FULL "6{2:16777343 5:47873 6:17 7:'d' 8:0 13:33554559 14:36895 15:50331775 16:80}",
        TYPE("netconn", "netconn") FULL_PROCESS FULL_HASHES FULL_LINKS
        ",\"domain\":\"d\",\"protocol\":17,\"direction\":\"inbound\",\"ipv4\":\"127.0.0.1\",\"port\":443,"
        "\"remote_ip\":\"127.0.0.2\",\"remote_port\":8080,\"local_ip\":\"127.0.0.3\",\"local_port\":20480}");
    /* The ports go with their addresses. */
    expect_json(without_links, HEADER "6{14:5 15:0}",
                TYPE("netconn", "netconn") NO_PROCESS NO_HASHES
                ",\"domain\":\"\",\"protocol\":6,\"direction\":\"outbound\",\"ipv4\":\"0.0.0.0\",\"port\":0,"
                "\"local_ip\":\"0.0.0.0\",\"local_port\":0}");
}

static void childproc(void **state)
{
    (void)state;
    expect_json(
        with_links,
        FULL
        "12{1:1 2:-1 3:xAB 4:-2 5:'c' 6:4294967300 7:255 8:1 9{1:1} 10:'cmd' 11:'user' 12:2 13:1 14:xCD}",
        TYPE("childproc", "childproc") FULL_PROCESS FULL_LINKS
        ",\"md5\":\"AB\",\"sha256\":\"CD\",\"created\":true,"
        "\"child_process_guid\":\"00000007-0000-0004-0000-0000000000ff\",\"child_pid\":4294967300,"
        "\"parent_guid\":\"" FULL_GUID "\",\"path\":\"c\",\"childproc_type\":\"OtherExec\",\"tamper\":true,"
        "\"tamper_sent\":true,\"child_suppressed\":true,\"child_command_line\":\"cmd\","
        "\"child_username\":\"user\","
        "\"link_child\":\"https://u/#analyze/00000007-0000-0004-0000-0000000000ff/1\"}");
    /* The deprecated numbers; suppression that is not, with texts that then do not count. */
    expect_json(
        with_links, "1{1:4 11:xEE} 12{2:-1 4:-2 6:5 9{2:1} 10:'cmd' 11:'user'}",
        TYPE("childproc", "childproc") NO_PROCESS NO_HASHES
        ",\"link_process\":\"https://u/#analyze/0/0\",\"link_sensor\":\"https://u/#/host/0\","
        "\"created\":false,\"child_process_guid\":\"-2\",\"child_pid\":5,\"parent_guid\":\"-1\",\"path\":"
        "\"\","
        "\"childproc_type\":\"Exec\",\"tamper\":false,\"tamper_sent\":false,\"child_suppressed\":false,"
        "\"link_child\":\"https://u/#analyze/-2/1\"}");
    expect_json(without_links, "1{1:4 10:1} 13{1{1:7}} 12{2:-1 4:-2 6:5}",
                TYPE("childproc", "childproc") "\"timestamp\":0,\"sensor_id\":7,\"computer_name\":\"\","
                                               "\"process_guid\":\"0\",\"pid\":1" NO_HASHES
                                               ",\"created\":false,\"child_process_guid\":\"-2\","
                                               "\"child_pid\":5,\"parent_guid\":\"-1\",\"path\":\"\","
                                               "\"childproc_type\":\"Exec\",\"tamper\":false,"
                                               "\"tamper_sent\":false,\"child_suppressed\":false}");
    expect_json(
        without_links, HEADER "12{9{1:1}}",
        TYPE("childproc", "childproc") NO_PROCESS NO_HASHES
        ",\"created\":false,\"child_process_guid\":\"0\",\"child_pid\":0,\"parent_guid\":\"0\",\"path\":\"\","
        "\"childproc_type\":\"Exec\",\"tamper\":false,\"tamper_sent\":false,\"child_suppressed\":true,"
        "\"child_command_line\":\"\",\"child_username\":\"\"}");
}

static void crossprocopen_and_remotethread(void **state)
{
    (void)state;
#define NO_TARGET                                                                                            \
    ",\"is_target\":false,\"target_pid\":0,\"target_create_time\":0,\"target_md5\":\"\",\"target_sha256\":"  \
    "\"\","                                                                                                  \
    "\"target_path\":\"\",\"target_process_guid\":\"00000000-0000-0000-0000-000000000000\",\"tamper\":"      \
    "false,"                                                                                                 \
    "\"tamper_sent\":false"
    expect_json(without_links, HEADER "14{1{}}",
                TYPE("crossprocopen", "cross_process") NO_PROCESS NO_HASHES NO_TARGET
                ",\"cross_process_type\":\"open_process\",\"requested_access\":0}");
    expect_json(without_links, HEADER "14{1{1:3}}",
                TYPE("crossprocopen", "cross_process") NO_PROCESS NO_HASHES NO_TARGET
                ",\"cross_process_type\":\"unknown (3)\",\"requested_access\":0}");
    expect_json(without_links, HEADER "14{2{}}",
                TYPE("remotethread", "cross_process") NO_PROCESS NO_HASHES NO_TARGET
                ",\"cross_process_type\":\"remote_thread\"}");
#define TARGET                                                                                               \
    ",\"is_target\":true,\"target_pid\":4294967295,\"target_create_time\":18446744073709551615,"             \
    "\"target_md5\":\"01\",\"target_sha256\":\"02\",\"target_path\":\"t\","                                  \
    "\"target_process_guid\":\"00000007-ffff-ffff-ffff-ffffffffffff\",\"tamper\":true,\"tamper_sent\":true," \
    "\"link_target\":\"https://u/#analyze/00000007-ffff-ffff-ffff-ffffffffffff/1\""
    expect_json(
        with_links,
        FULL "14{1{1:2 2:4294967295 3:18446744073709551615 4:2097151 5:'t' 6:x01 7:x02} 2{1:1} 3:1 4:1 5:1}",
        TYPE("crossprocopen", "cross_process") FULL_PROCESS FULL_HASHES FULL_LINKS TARGET
        ",\"cross_process_type\":\"open_thread\",\"requested_access\":2097151}");
    expect_json(with_links, FULL "14{2{1:4294967295 2:18446744073709551615 3:'t' 4:x01 5:x02} 3:1 4:1 5:1}",
                TYPE("remotethread", "cross_process") FULL_PROCESS FULL_HASHES FULL_LINKS TARGET
                ",\"cross_process_type\":\"remote_thread\"}");
}

static void emetmitigation(void **state)
{
    (void)state;
    expect_json(
        without_links, HEADER "17{}",
        TYPE("emetmitigation", "emet_mitigation") NO_PROCESS NO_HASHES
        ",\"log_message\":\"\",\"mitigation\":\"Dep\",\"blocked\":false,\"log_id\":0,\"emet_timestamp\":0}");
    expect_json(with_links, FULL "17{1:18446744073709551615 2:130949318600000000 3{1:8} 4:'EMET\n' 5:1}",
                TYPE("emetmitigation", "emet_mitigation") FULL_PROCESS FULL_HASHES FULL_LINKS
                ",\"log_message\":\"EMET\\n\",\"mitigation\":\"Eaf\",\"blocked\":true,"
                "\"log_id\":18446744073709551615,\"emet_timestamp\":130949318600000000}");
}

static void tamper_has_nothing_of_a_process(void **state)
{
    (void)state;
    expect_json(without_links, HEADER "15{}",
                TYPE("tamper", "tamper") NOTHING ",\"tamper_type\":\"CoreDriverUnloaded\"}");
    expect_json(with_links, FULL "15{1:4 2:1}",
                TYPE("tamper", "tamper") FULL_EVENT ",\"tamper_type\":\"CbProcessTerminated\"}");
}

static void processblock(void **state)
{
    (void)state;
    expect_json(without_links, HEADER "16{}",
                TYPE("processblock", "blocked_process") NOTHING
                ",\"blocked_reason\":\"Md5Hash\",\"blocked_event\":\"ProcessCreate\","
                "\"blocked_result\":\"ProcessTerminated\",\"md5\":\"\",\"path\":\"\",\"command_line\":\"\","
                "\"uid\":\"\","
                "\"username\":\"\"}");
    expect_json(
        with_links,
        FULL "16{1:1 2:2 3:x0A 4:'p' 5:5 6:4294967295 7:-6 8:18446744073709551615 9:'c' 10:'u' 11:'n'}",
        TYPE("processblock", "blocked_process") FULL_EVENT
        ",\"blocked_reason\":\"Md5Hash\",\"blocked_event\":\"RunningProcess\","
        "\"blocked_result\":\"NotTerminatedOpenProcessError\",\"blocked_error\":4294967295,\"md5\":\"0A\","
        "\"path\":\"p\",\"command_line\":\"c\",\"pid\":-6,\"process_create_time\":18446744073709551615,"
        "\"process_guid\":\"00000007-ffff-fffa-ffff-ffffffffffff\","
        "\"link_target\":\"https://u/#analyze/00000007-ffff-fffa-ffff-ffffffffffff/1\"}");
    expect_json(
        with_links, FULL "16{1:2 2:1 7:9 10:'u' 11:'n'}",
        TYPE("processblock", "blocked_process") FULL_EVENT
        ",\"blocked_reason\":\"unknown (2)\",\"blocked_event\":\"ProcessCreate\","
        "\"blocked_result\":\"ProcessTerminated\",\"md5\":\"\",\"path\":\"\",\"command_line\":\"\",\"pid\":9,"
        "\"process_create_time\":0,\"process_guid\":\"00000007-0000-0009-0000-000000000000\","
        "\"link_target\":\"https://u/#analyze/00000007-0000-0009-0000-000000000000/1\","
        "\"uid\":\"u\",\"username\":\"n\"}");
    static const struct {
        int result;
        const char *name, *error;
    } results[] = {
        {1, "NotTerminatedCBProcess", ""},
        {2, "NotTerminatedSystemProcess", ""},
        {3, "NotTerminatedCriticalSystemProcess", ""},
        {4, "NotTerminatedWhitelistPath", ""},
        {5, "NotTerminatedOpenProcessError", ",\"blocked_error\":3"},
        {6, "NotTerminatedTerminateError", ",\"blocked_error\":3"},
        {7, "unknown (7)", ""},
    };
    for (size_t i = 0; i < sizeof(results) / sizeof(results[0]); i++) {
        char record[100], expected[1000];
        snprintf(record, sizeof(record), HEADER "16{2:3 5:%d 6:3 10:'u'}", results[i].result);
        snprintf(
            expected, sizeof(expected),
            TYPE("processblock", "blocked_process") NOTHING
            ",\"blocked_reason\":\"Md5Hash\",\"blocked_event\":\"unknown (3)\",\"blocked_result\":\"%s\"%s,"
            "\"md5\":\"\",\"path\":\"\",\"command_line\":\"\"}",
            results[i].name, results[i].error);
        expect_json(without_links, record, expected);
    }
}

static void module(void **state)
{
    (void)state;
    expect_json(
        with_links, HEADER "9{}",
        TYPE("module", "binary_info") NOTHING
        ",\"md5\":\"\",\"sha256\":\"\",\"size\":0,\"utf8_copied_module_length\":0,"
        "\"utf8_file_description\":\"\",\"utf8_company_name\":\"\",\"utf8_product_name\":\"\","
        "\"utf8_file_version\":\"\",\"utf8_comments\":\"\",\"utf8_legal_copyright\":\"\","
        "\"utf8_legal_trademark\":\"\",\"utf8_internal_name\":\"\",\"utf8_original_file_name\":\"\","
        "\"utf8_product_description\":\"\",\"utf8_product_version\":\"\",\"utf8_private_build\":\"\","
        "\"utf8_special_build\":\"\",\"utf8_on_disk_filename\":\"\",\"icon\":null,\"image_file_header\":null,"
        "\"digsig\":{\"result\":\"\",\"publisher\":\"\",\"program_name\":\"\",\"issuer_name\":\"\","
        "\"subject_name\":\"\",\"result_code\":\"\",\"sign_time\":\"\"}}");
    expect_json(
        with_links,
        FULL
        "9{1:'d8564a' 2:4294967295 3:18446744073709551615 4:'4' 5:'5' 6:'6' 7:'7' 8:'8' 9:'9' 10:'10' "
        "11:'11' 12:'12' 13:'13' 14:'14' 15:'15' 16:'16' 17:'17' 18:'18' 19:'19' 20:'20' 21:'21' 22:'22' "
        "23:'23' 24:x 25:x646400 26:'26' 27:'ab/cd'}",
        TYPE("module", "binary_info") FULL_EVENT
        ",\"md5\":\"D8564A\",\"sha256\":\"AB/CD\",\"size\":18446744073709551615,"
        "\"utf8_copied_module_length\":4294967295,"
        "\"utf8_file_description\":\"4\",\"utf8_company_name\":\"5\",\"utf8_product_name\":\"6\","
        "\"utf8_file_version\":\"7\",\"utf8_comments\":\"8\",\"utf8_legal_copyright\":\"9\","
        "\"utf8_legal_trademark\":\"10\",\"utf8_internal_name\":\"11\",\"utf8_original_file_name\":\"12\","
        "\"utf8_product_description\":\"13\",\"utf8_product_version\":\"14\",\"utf8_private_build\":\"15\","
        "\"utf8_special_build\":\"16\",\"utf8_on_disk_filename\":\"26\",\"icon\":\"\","
        "\"image_file_header\":\"ZGQA\",\"digsig\":{\"result\":\"21\",\"publisher\":\"17\","
        "\"program_name\":\"18\",\"issuer_name\":\"19\",\"subject_name\":\"20\",\"result_code\":\"22\","
        "\"sign_time\":\"23\"}}");
}

static void scripts(void **state)
{
    (void)state;
    expect_json(without_links, HEADER "23{}",
                TYPE("filelessscriptload", "filelessscriptload") NO_PROCESS NO_HASHES
                ",\"script\":\"\",\"script_sha256\":\"\"}");
    expect_json(with_links, FULL "23{1:'a(\"b\")' 2:'0aF'}",
                TYPE("filelessscriptload", "filelessscriptload") FULL_PROCESS FULL_HASHES FULL_LINKS
                ",\"script\":\"a(\\\"b\\\")\",\"script_sha256\":\"0aF\"}");
    expect_json(without_links, HEADER "24{}",
                TYPE("filebackedscriptload", "filebackedscriptload") NO_PROCESS NO_HASHES
                ",\"script\":\"\",\"script_sha256\":\"\",\"script_path\":\"\"}");
    expect_json(with_links, FULL "24{1:'s' 2:'h' 3:'c:\\s.ps1'}",
                TYPE("filebackedscriptload", "filebackedscriptload") FULL_PROCESS FULL_HASHES FULL_LINKS
                ",\"script\":\"s\",\"script_sha256\":\"h\",\"script_path\":\"c:\\\\s.ps1\"}");
}

static void netconnblocked_of_either_message(void **state)
{
    (void)state;
    expect_json(
        without_links, HEADER "21{}",
        TYPE("netconnblocked", "blocked_netconn") NO_PROCESS NO_HASHES
        ",\"blocked_reason\":\"NetworkIsolation\",\"domain\":\"\",\"protocol\":6,\"direction\":\"outbound\","
        "\"remote_ip\":\"0.0.0.0\",\"remote_port\":0,\"local_ip\":\"0.0.0.0\",\"local_port\":0,"
        "\"proxy\":false}");
    expect_json(
        with_links,
        FULL
        "21{1:2 2:99 3:17 4:'d' 5:0 6:1 7{2:1} 8:36895 9:'x' 10{2:2} 11:47873 12{2:3} 13:80 14:'J' 15:'S'}",
        TYPE("netconnblocked", "blocked_netconn") FULL_PROCESS FULL_HASHES FULL_LINKS
        ",\"blocked_reason\":\"unknown (2)\",\"domain\":\"d\",\"protocol\":17,\"direction\":\"inbound\","
        "\"remote_ip\":\"2.0.0.0\",\"remote_port\":443,\"local_ip\":\"3.0.0.0\",\"local_port\":20480,"
        "\"proxy\":true,\"proxy_ip\":\"1.0.0.0\",\"proxy_port\":8080,\"proxy_domain\":\"x\",\"ja3\":\"J\","
        "\"ja3s\":\"S\"}");
    expect_json(
        without_links, HEADER "18{}",
        TYPE("netconnblocked", "blocked_netconn") NO_PROCESS NO_HASHES
        ",\"blocked_reason\":\"NetworkIsolation\",\"domain\":\"\",\"protocol\":6,\"direction\":\"outbound\","
        "\"ipv4\":\"0.0.0.0\",\"port\":0}");
    expect_json(
        with_links, FULL "18{1:1 2:1 5:47873 6:17 7:'d' 8:0 13:2 14:36895 15:3 16:80}",
        TYPE("netconnblocked", "blocked_netconn") FULL_PROCESS FULL_HASHES FULL_LINKS
        ",\"blocked_reason\":\"NetworkIsolation\",\"domain\":\"d\",\"protocol\":17,\"direction\":\"inbound\","
        "\"ipv4\":\"1.0.0.0\",\"port\":443,\"remote_ip\":\"2.0.0.0\",\"remote_port\":8080,"
        "\"local_ip\":\"3.0.0.0\",\"local_port\":20480}");
}

static void vtwrite_and_vtload(void **state)
{
    (void)state;
    expect_json(
        without_links, HEADER "10{}",
        TYPE("vtwrite", "vtwrite") NO_PROCESS NO_HASHES
        ",\"path\":\"\",\"file_md5\":\"\",\"file_sha256\":\"\",\"is_pe_module\":false,\"writer_path\":\"\","
        "\"writer_md5\":\"\"}");
    expect_json(with_links, FULL "10{1:x01 2:x02 3:1 4:'w' 5:'f' 6:x03}",
                TYPE("vtwrite", "vtwrite") FULL_PROCESS FULL_HASHES FULL_LINKS
                ",\"path\":\"f\",\"file_md5\":\"02\",\"file_sha256\":\"03\",\"is_pe_module\":true,"
                "\"writer_path\":\"w\",\"writer_md5\":\"01\"}");
    expect_json(without_links, "1{1:4 11:xEE 14:xFF} 11{}",
                TYPE("vtload", "vtload") NO_PROCESS ",\"md5\":\"\",\"sha256\":\"FF\",\"loader_md5\":\"\"}");
    expect_json(with_links, FULL "11{1:x01 2:x02}",
                TYPE("vtload", "vtload") FULL_PROCESS FULL_LINKS
                ",\"md5\":\"02\",\"sha256\":\"FFEE\",\"loader_md5\":\"01\"}");
}

static void processmeta_has_every_field_that_is_set(void **state)
{
    (void)state;
    expect_json(without_links, HEADER "19{}", TYPE("processmeta", "process_meta") NO_PROCESS NO_HASHES "}");
    /* Its guid never counts, for the common key is always there; its path counts where the header has none.
     */
    expect_json(without_links, HEADER "19{1:5 5:'p'}",
                TYPE("processmeta", "process_meta") NO_PROCESS NO_HASHES ",\"process_path\":\"p\"}");
    expect_json(without_links, "1{1:4 12:''} 19{5:''}",
                TYPE("processmeta", "process_meta") NO_PROCESS NO_HASHES ",\"process_path\":\"\"}");
    expect_json(
        with_links,
        FULL
        "19{1:5 2:-2 3:-3 4:x04 5:'no' 6:'6' 7:'7' 8:'8' 9:-9 10:-10 11:x0B 12:'12' 13:13 14:14 15:15 16:16 "
        "17:17 18:18 19:19 20:-20 21:-9223372036854775808 22:22 23:1 24{1:8} 24{} 24{1:99} 25:x19 26:x1A "
        "27:-2}",
        TYPE("processmeta", "process_meta") FULL_PROCESS FULL_HASHES FULL_LINKS
        ",\"process_create_time\":-2,\"process_pid\":-3,\"process_md5\":\"04\",\"uid\":\"6\","
        "\"username\":\"7\",\"commandline\":\"8\",\"parent_pid\":-9,\"parent_create_time\":-10,"
        "\"parent_md5\":\"0B\",\"parent_path\":\"12\",\"modload_count\":13,\"filemod_count\":14,"
        "\"netconn_count\":15,\"regmod_count\":16,\"childproc_count\":17,\"crossproc_count\":18,"
        "\"emet_count\":19,\"processblock_count\":-20,\"sensor_start_time\":-9223372036854775808,"
        "\"sensor_segment\":22,\"creationobserved\":true,\"actions\":[\"Eaf\",\"Dep\",\"unknown (99)\"],"
        "\"process_sha256\":\"19\",\"parent_sha256\":\"1A\",\"logon_type\":-2}");
    /* What is set to its default is set. */
    expect_json(without_links, HEADER "19{13:0 23:0 27:0}",
                TYPE("processmeta", "process_meta") NO_PROCESS NO_HASHES
                ",\"modload_count\":0,\"creationobserved\":false,\"logon_type\":0}");
}

static void processmeta_with_very_many_actions_fits_any_buffer(void **state)
{
    (void)state;
    struct pb record = {0}, member = {0};
    struct cbt_event event;
    struct cbt_err err;
    enum cbt_dead_reason reason;
    struct exact_buf out;
    pb_header(&record, 1);
    for (unsigned i = 0; i < 5000; i++)
        pb_bytes(&member, 24, "\x08\x0D", 2);
    pb_message(&record, 19, &member);
    assert_int_equal(cbt_decode_event(decoder, pb_text(&record), NULL, &event, &reason, &err), 0);
    exact_init(&out, 0, SIZE_MAX);
    assert_int_equal(cbt_format_find("json")->encode(with_links, &event, &out.buf, &err), 0);
    struct jv *value = jv_parse(out.buf.begin, cbt_buf_len(&out.buf));
    const struct jv *actions = jv_get(value, "actions");
    unsigned count = 0;
    assert_non_null(actions);
    for (const struct jv *v = actions->children; v != NULL; v = v->next, count++)
        assert_string_equal(v->text, "SimulateExecFlow");
    assert_int_equal(count, 5000);
    jv_free(value);
    exact_free(&out);
    pb_free(&record);
    pb_free(&member);
}

static void unknown_has_the_process_and_the_raw_record(void **state)
{
    (void)state;
    expect_json(with_links, "1{1:4}",
                TYPE("unknown", "unknown") NO_PROCESS NO_HASHES
                ",\"link_process\":\"https://u/#analyze/0/0\",\"link_sensor\":\"https://u/#/host/0\","
                "\"raw\":\"CgIIBA==\"}");
    expect_json(without_links, "1{1:4 10:5} 99{1:1}",
                TYPE("unknown", "unknown") NOTHING ",\"process_guid\":\"0\",\"pid\":5" NO_HASHES
                                                   ",\"raw\":\"CgQIBFAFmgYCCAE=\"}");
    expect_json(without_links, "1{1:4} 14{3:1}",
                TYPE("unknown", "unknown") NO_PROCESS NO_HASHES ",\"raw\":\"CgIIBHICGAE=\"}");
}

/* --- the buffer --- */

static int encode_within(const void *json, const struct cbt_event *event, size_t limit, struct exact_buf *out)
{
    struct cbt_err err = {0};
    exact_init(out, 0, limit);
    return cbt_format_find("json")->encode(json, event, &out->buf, &err);
}

/* Whatever the limit: the whole event, or CBT_ELIMIT and not a byte beyond it. */
static void event_over_the_limit_is_refused_without_writing_beyond(void **state)
{
    (void)state;
    struct pb record = {0}, path = {0};
    struct cbt_event event;
    struct cbt_err err;
    enum cbt_dead_reason reason;
    pb_header(&record, 1);
    for (unsigned i = 0; i < 3000; i++)
        pb_raw(&path, i % 7 ? "\\" : "\1", 1);
    for (unsigned i = 0; i < 3; i++) {
        struct pb member = {0};
        pb_bytes(&member, i == 0 ? 4 : i == 1 ? 24 : 1, path.data, path.len);
        pb_message(&record, i == 0 ? 7 : 9, &member);
        pb_free(&member);
    }
    for (unsigned type = 0; type < 2; type++) {
        struct exact_buf out;
        assert_int_equal(cbt_decode_event(decoder, pb_text(&record), NULL, &event, &reason, &err), 0);
        if (type == 1)
            event.type = CBT_TYPE_module; /* the record has both members */
        assert_int_equal(encode_within(with_links, &event, SIZE_MAX, &out), 0);
        size_t whole = cbt_buf_len(&out.buf);
        exact_free(&out);
        size_t refused = 0;
        for (size_t limit = 0; limit < whole + 20000; limit += 97) {
            int rc = encode_within(with_links, &event, limit, &out);
            assert_true(rc == 0 || rc == CBT_ELIMIT);
            assert_int_equal(out.buf.failed, rc != 0);
            if (rc == 0)
                assert_int_equal(cbt_buf_len(&out.buf), whole);
            else
                refused = limit;
            exact_free(&out);
        }
        assert_true(refused >= whole - 97);   /* what does not fit is refused */
        assert_true(refused < whole + 16384); /* what fits with some room to spare is not */
    }
    pb_free(&record);
    pb_free(&path);
}

static void long_configuration_is_refused_and_names_are_escaped(void **state)
{
    (void)state;
    char *url = calloc(1, 3000);
    void *json = NULL;
    struct cbt_err err;
    assert_non_null(url);
    memset(url, '"', 2999);
    assert_int_equal(
        cbt_format_find("json")->open(&json, &(struct cbt_format_options){.server_url = url}, &err),
        CBT_EINVAL);
    assert_int_equal(
        cbt_format_find("json")->open(&json, &(struct cbt_format_options){.server_name = url}, &err),
        CBT_EINVAL);
    assert_null(json);
    assert_null(cbt_format_find("yaml"));
    cbt_format_find("json")->close(NULL);
    json = json_open(&(struct cbt_format_options){.server_name = "a\"\\\xff", .server_url = "u\"/"});
    expect_json(json, HEADER "4{}",
                "{\"type\":\"ingress.event.moduleload\",\"event_type\":\"modload\",\"cb_server\":"
                "\"a\\\"\\\\\ufffd\"," NO_PROCESS NO_HASHES
                ",\"path\":\"\",\"link_process\":\"u\\\"/#analyze/0/0\","
                "\"link_sensor\":\"u\\\"/#/host/0\"}");
    json_close(json);
    /* The longest that is taken, with the event of most links. */
    memset(url, 'u', 990);
    url[990] = '\0';
    json = json_open(&(struct cbt_format_options){.server_name = url, .server_url = url});
    struct pb record =
        pb_parse(FULL "3{2:1 3:-2147483648 4:-1 5:-9223372036854775808 13:1 18:1 21:-2147483648 "
                      "6:x000102030405060708090A0B0C0D0E0F 10:x000102030405060708090A0B0C0D0E0F "
                      "19:x000102030405060708090A0B0C0D0E0F 20:x000102030405060708090A0B0C0D0E0F}");
    struct cbt_event event;
    enum cbt_dead_reason reason;
    struct exact_buf out;
    assert_int_equal(cbt_decode_event(decoder, pb_text(&record), NULL, &event, &reason, &err), 0);
    assert_int_equal(encode_within(json, &event, SIZE_MAX, &out), 0);
    struct jv *value = jv_parse(out.buf.begin, cbt_buf_len(&out.buf));
    assert_non_null(jv_get(value, "link_parent"));
    jv_free(value);
    exact_free(&out);
    pb_free(&record);
    json_close(json);
    free(url);
}

/* --- random records: whatever decodes is one valid JSON object without duplicate keys --- */

static uint32_t rng_state = 7;
static uint32_t rng(uint32_t below)
{
    rng_state ^= rng_state << 13;
    rng_state ^= rng_state >> 17;
    rng_state ^= rng_state << 5;
    return rng_state % below;
}

static void put_random(struct pb *pb, unsigned depth)
{
    struct pb sub = {0};
    for (uint32_t fields = rng(12); fields > 0; fields--) {
        unsigned field = 1 + rng(27);
        uint8_t bytes[40];
        switch (rng(depth > 0 ? 4 : 3)) {
        case 0:
            pb_number(pb, field, rng(2) ? rng(40) : (uint64_t)rng(UINT32_MAX) << rng(33));
            break;
        case 1:
        case 2:
            for (size_t i = 0; i < sizeof(bytes); i++)
                bytes[i] = (uint8_t)rng(256);
            pb_bytes(pb, field, bytes, rng(41));
            break;
        default:
            put_random(&sub, depth - 1);
            pb_message(pb, field, &sub);
        }
    }
    pb_free(&sub);
}

static void random_records_give_valid_objects(void **state)
{
    (void)state;
    const void *formats[] = {with_links, without_links, with_decimals};
    unsigned encoded = 0, types[CBT_TYPES] = {0};
    for (unsigned i = 0; i < 300000; i++) {
        struct pb record = {0}, sub = {0};
        struct cbt_event event;
        struct cbt_err err;
        enum cbt_dead_reason reason;
        pb_number(&sub, 1, 4);
        put_random(&sub, 0);
        pb_message(&record, 1, &sub);
        put_random(&sub, 1);
        pb_message(&record, 2 + rng(23), &sub);
        pb_free(&sub);
        if (cbt_decode_event(decoder, pb_text(&record), NULL, &event, &reason, &err) == 0) {
            struct exact_buf out;
            assert_int_equal(encode_within(formats[i % 3], &event, SIZE_MAX, &out), 0);
            struct jv *value = jv_parse(out.buf.begin, cbt_buf_len(&out.buf));
            if (value == NULL || value->kind != JV_OBJECT)
                fail_msg("no valid object: %.*s", (int)cbt_buf_len(&out.buf), (char *)out.buf.begin);
            jv_free(value);
            exact_free(&out);
            types[event.type]++;
            encoded++;
        }
        pb_free(&record);
    }
    assert_true(encoded > 10000);
    for (int type = 0; type < CBT_TYPE_NOTIFICATION; type++)
        if (types[type] == 0)
            fail_msg("no random record was of type %s", cbt_event_type_name((enum cbt_event_type)type));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(common_keys_are_there_with_defaults_where_nothing_is_set),
        cmocka_unit_test(process_guid_needs_all_its_parts_else_it_is_the_deprecated_number),
        cmocka_unit_test(texts_keep_nul_and_are_mended),
        cmocka_unit_test(path_is_the_first_string_of_the_guid),
        cmocka_unit_test(procstart_and_procend),
        cmocka_unit_test(moduleload_has_the_hashes_of_the_module_only),
        cmocka_unit_test(filemod),
        cmocka_unit_test(enum_values_have_their_names),
        cmocka_unit_test(regmod),
        cmocka_unit_test(netconn_of_the_new_message),
        cmocka_unit_test(netconn_of_the_old_message),
        cmocka_unit_test(childproc),
        cmocka_unit_test(crossprocopen_and_remotethread),
        cmocka_unit_test(emetmitigation),
        cmocka_unit_test(tamper_has_nothing_of_a_process),
        cmocka_unit_test(processblock),
        cmocka_unit_test(module),
        cmocka_unit_test(scripts),
        cmocka_unit_test(netconnblocked_of_either_message),
        cmocka_unit_test(vtwrite_and_vtload),
        cmocka_unit_test(processmeta_has_every_field_that_is_set),
        cmocka_unit_test(processmeta_with_very_many_actions_fits_any_buffer),
        cmocka_unit_test(unknown_has_the_process_and_the_raw_record),
        cmocka_unit_test(event_over_the_limit_is_refused_without_writing_beyond),
        cmocka_unit_test(long_configuration_is_refused_and_names_are_escaped),
        cmocka_unit_test(random_records_give_valid_objects),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
