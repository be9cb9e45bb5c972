"""Prompt wording in each language, for tasks whose files hold no whole prompts."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ChoiceWording:
    """How XCOPA is asked.

    Attributes:
        task: The first line.
        premise: What stands before the premise.
        options: What stands before the first option.
        cause: The question for the cause.
        effect: The question for the effect.
        answer: The last line, after which the answer follows.
    """

    task: str
    premise: str
    options: str
    cause: str
    effect: str
    answer: str


@dataclass(frozen=True, slots=True)
class WordWording:
    """How word translation from English is asked; our choice throughout.

    Attributes:
        instruction: The first line.
        english: What stands before an English word.
        own: What stands before a word of the language.
    """

    instruction: str
    english: str
    own: str


CHOICES: dict[str, ChoiceWording] = {
    "en": ChoiceWording(
        task="You are assigned to complete a two-category classification task.",
        premise="Premise: ",
        options="Options: ",
        cause=(
            "Please determine which of the two options is more likely to be the cause of the given premise."
        ),
        effect=(
            "Please determine which of the two options is more likely to be the result of the given premise."
        ),
        answer="Your Answer:",
    ),
    "et": ChoiceWording(
        task="Teile määratakse kahekategooria klassifitseerimisülesanne.",
        premise="Ruumi: ",
        options="Valikud: ",
        cause=(
            "Palun määrake kindlaks, milline kahest variandist on antud eelduse põhjuseks tõenäolisemalt."
        ),
        effect="Palun määrake kindlaks, milline kahest variandist on tõenäolisemalt antud eelduse tulemus.",
        answer="Sinu Vastus:",
    ),
    "ht": ChoiceWording(
        task="Yo asiyen w pou konplete yon travay klasifikasyon de kategori.",
        premise="Premise: ",
        options="Opsyon: ",
        cause="Tanpri detèmine kilès nan de opsyon sa yo ki gen plis chans pou yo lakòz premis yo bay la.",
        effect="Tanpri detèmine kilès nan de opsyon yo gen plis chans pou yo rezilta nan site yo bay la.",
        answer="Repons ou:",
    ),
    "id": ChoiceWording(
        task="Anda ditugaskan untuk menyelesaikan tugas klasifikasi dua kategori.",
        premise="Premis: ",
        options="Pilihan: ",
        cause=(
            "Silakan tentukan mana di antara dua opsi yang lebih mungkin menjadi penyebab premis yang "
            "diberikan."
        ),
        effect=(
            "Silakan tentukan mana di antara dua opsi yang lebih mungkin merupakan hasil dari premis "
            "yang diberikan."
        ),
        answer="Jawaban Anda:",
    ),
    "it": ChoiceWording(
        task="Ti viene assegnato il compito di completare un'attività di classificazione in due categorie.",
        premise="Premessa: ",
        options="Opzioni: ",
        cause=(
            "Si prega di determinare quale delle due opzioni è più probabile che sia la causa della "
            "premessa data."
        ),
        effect=(
            "Si prega di determinare quale delle due opzioni è più probabile che sia il risultato "
            "della premessa data."
        ),
        answer="La tua risposta:",
    ),
    "qu": ChoiceWording(
        task="Iskay categoría nisqa clasificación ruwayta hunt'anaykipaq churasqa kanki.",
        premise="Premisa: ",
        options="Akllanakuna: ",
        cause=(
            "Ama hina kaspa, yachay mayqin iskay akllanakunamanta aswan chaninniyuq kanman qusqa "
            "premisapa causan kananpaq."
        ),
        effect=(
            "Ama hina kaspa, mayqin iskay akllanakunamanta aswanta qusqa premisapa rurun kasqanmanta yachay."
        ),
        answer="Kutichisqayki:",
    ),
    "sw": ChoiceWording(
        task="Umepewa kukamilisha kazi ya uainishaji wa aina mbili.",
        premise="Nguzo: ",
        options="Chaguo: ",
        cause=(
            "Tafadhali bainisha ni ipi kati ya chaguo hizi mbili ina uwezekano mkubwa wa kuwa sababu "
            "ya msingi uliotolewa."
        ),
        effect=(
            "Tafadhali bainisha ni ipi kati ya chaguo hizi mbili ina uwezekano mkubwa wa kuwa matokeo "
            "ya msingi uliotolewa."
        ),
        answer="Jibu lako:",
    ),
    "ta": ChoiceWording(
        task="இரண்டு வகை வகைப்பாடு பணியை முடிக்க உங்களுக்கு ஒதுக்கப்பட்டுள்ளது.",
        premise="வளாகம்: ",
        options="விருப்பங்கள்: ",
        cause=("கொடுக்கப்பட்ட முன்மாதிரியின் காரணமாக இரு விருப்பங்களில் எது அதிகம் என்பதைத் தீர்மானிக்கவும்."),
        effect=("கொடுக்கப்பட்ட முன்மாதிரியின் விளைவாக இரண்டு விருப்பங்களில் எது அதிகமாக இருக்கும் என்பதைத் தீர்மானிக்கவும்."),
        answer="உங்கள் பதில்:",
    ),
    "th": ChoiceWording(
        task="คุณได้รับมอบหมายให้ทำงานจำแนกประเภทสองประเภทให้เสร็จสิ้น",
        premise="สถานที่: ",
        options="ตัวเลือก: ",
        # The released rows ask for effects only; the question for causes is ours.
        cause="โปรดพิจารณาว่าตัวเลือกใดในสองตัวเลือกนี้มีแนวโน้มมากกว่าที่จะเป็นสาเหตุของสมมติฐานที่กำหนด",
        effect="โปรดพิจารณาว่าตัวเลือกใดในสองตัวเลือกนี้มีแนวโน้มมากกว่าที่จะเป็นผลมาจากสมมติฐานที่กำหนด",
        answer="คำตอบของคุณ:",
    ),
    "tr": ChoiceWording(
        task="İki kategorili bir sınıflandırma görevini tamamlamakla görevlendirildiniz.",
        premise="Öncül: ",
        options="Seçenekler: ",
        cause=(
            "Lütfen iki seçenekten hangisinin verilen önermenin nedeni olma ihtimalinin daha yüksek "
            "olduğunu belirleyin."
        ),
        effect=(
            "Lütfen iki seçenekten hangisinin verilen önermenin sonucu olma ihtimalinin daha yüksek "
            "olduğunu belirleyin."
        ),
        answer="Cevabınız:",
    ),
    "vi": ChoiceWording(
        task="Bạn được giao nhiệm vụ hoàn thành nhiệm vụ phân loại hai loại.",
        premise="Tiền đề: ",
        options="Tùy chọn: ",
        cause=(
            "Vui lòng xác định lựa chọn nào trong hai lựa chọn có nhiều khả năng là nguyên nhân của "
            "tiền đề nhất định."
        ),
        effect=(
            "Vui lòng xác định lựa chọn nào trong hai lựa chọn có nhiều khả năng là kết quả của tiền "
            "đề đã cho."
        ),
        answer="Câu trả lời của bạn:",
    ),
    "zh": ChoiceWording(
        task="您被分配完成一项两类分类任务。",
        premise="前提：",
        options="选项：",
        cause="请确定两个选项中的哪一个更可能是给定前提的原因。",
        effect="请确定两个选项中哪一个更可能是给定前提的结果。",
        answer="您的答案：",
    ),
}
"""Wording of the released XTransplant rows (arXiv 2412.12686), their machine translation with its faults included."""

WORDS: dict[str, WordWording] = {
    "ar": WordWording("ترجم من الإنجليزية إلى العربية.", "الإنجليزية: ", "العربية: "),
    "bg": WordWording("Преведи от английски на български.", "Английски: ", "Български: "),
    "de": WordWording("Übersetze aus dem Englischen ins Deutsche.", "Englisch: ", "Deutsch: "),
    "el": WordWording("Μετάφρασε από τα αγγλικά στα ελληνικά.", "Αγγλικά: ", "Ελληνικά: "),
    "es": WordWording("Traduce del inglés al español.", "Inglés: ", "Español: "),
    "eu": WordWording("Itzuli ingelesetik euskarara.", "Ingelesa: ", "Euskara: "),
    "fi": WordWording("Käännä englannista suomeksi.", "Englanti: ", "Suomi: "),
    "fr": WordWording("Traduis de l'anglais vers le français.", "Anglais: ", "Français: "),
    "hi": WordWording("अंग्रेज़ी से हिन्दी में अनुवाद करें।", "अंग्रेज़ी: ", "हिन्दी: "),
    "id": WordWording("Terjemahkan dari bahasa Inggris ke bahasa Indonesia.", "Inggris: ", "Indonesia: "),
    "it": WordWording("Traduci dall'inglese all'italiano.", "Inglese: ", "Italiano: "),
    "ja": WordWording("英語から日本語に翻訳してください。", "英語：", "日本語："),
    "ko": WordWording("영어를 한국어로 번역하세요.", "영어: ", "한국어: "),
    "pt": WordWording("Traduza do inglês para o português.", "Inglês: ", "Português: "),
    "ru": WordWording("Переведи с английского на русский.", "Английский: ", "Русский: "),
    "sw": WordWording("Tafsiri kutoka Kiingereza hadi Kiswahili.", "Kiingereza: ", "Kiswahili: "),
    "th": WordWording("แปลจากภาษาอังกฤษเป็นภาษาไทย", "ภาษาอังกฤษ: ", "ภาษาไทย: "),
    "tr": WordWording("İngilizceden Türkçeye çevir.", "İngilizce: ", "Türkçe: "),
    "uk": WordWording("Переклади з англійської на українську.", "Англійська: ", "Українська: "),
    "ur": WordWording("انگریزی سے اردو میں ترجمہ کریں۔", "انگریزی: ", "اردو: "),
    "vi": WordWording("Dịch từ tiếng Anh sang tiếng Việt.", "Tiếng Anh: ", "Tiếng Việt: "),
    "zh": WordWording("把英语翻译成中文。", "英语：", "中文："),
}
"""The same instruction and labels in each language (ours)."""

NAMES: dict[str, str] = {
    "ar": "Arabic",
    "bg": "Bulgarian",
    "de": "German",
    "el": "Greek",
    "es": "Spanish",
    "eu": "Basque",
    "fi": "Finnish",
    "fr": "French",
    "hi": "Hindi",
    "id": "Indonesian",
    "it": "Italian",
    "ja": "Japanese",
    "ko": "Korean",
    "pt": "Portuguese",
    "ru": "Russian",
    "sw": "Swahili",
    "th": "Thai",
    "tr": "Turkish",
    "uk": "Ukrainian",
    "ur": "Urdu",
    "vi": "Vietnamese",
    "zh": "Chinese",
}
"""English names of the languages of `WORDS`."""
